import Foundation
import Testing

@testable import KafkaDelivery

/// Which librdkafka runs is known, and compared as a version.
struct LibrdkafkaVersionTests {
    private static let wanted = ProcessInfo.processInfo.environment["KAFKA_DELIVERY_LIBRDKAFKA"]

    @Test(.enabled(if: wanted != nil, "scripts/test --librdkafka asks for a version"))
    func theVersionThatWasAskedForIsTheOneThatRuns() {
        #expect("\(LibrdkafkaVersion.current)" == Self.wanted)
    }

    @Test func versionsAreOrderedByTheirNumbersAndNotByTheirText() {
        let versions = [
            LibrdkafkaVersion(2, 0, 2), LibrdkafkaVersion(2, 3, 0), LibrdkafkaVersion(2, 6, 1),
            LibrdkafkaVersion(2, 10, 0), LibrdkafkaVersion(2, 12, 1), LibrdkafkaVersion(3, 0, 0),
        ]
        #expect(versions.shuffled().sorted() == versions)
        #expect(versions.map(\.description) == ["2.0.2", "2.3.0", "2.6.1", "2.10.0", "2.12.1", "3.0.0"])
    }

    @Test func aRefusedScramLogInSaysThatAnOldLibrdkafkaMayBeTheReason() {
        let refused = KafkaError(.authentication, recovery: .fixRequest, reason: "invalid credentials", code: "X")
        let old = Quirks(LibrdkafkaVersion(2, 0, 2)).explain(refused, mechanism: "SCRAM-SHA-256")
        #expect(old.reason.hasPrefix("invalid credentials; "))
        #expect(old.reason.contains("librdkafka 2.0.2"))
        #expect(old.reason.contains("2.6.1"))
        #expect(old.kind == .authentication)
        #expect(old.recovery == .fixRequest)
        #expect(Quirks(LibrdkafkaVersion(2, 6, 1)).explain(refused, mechanism: "SCRAM-SHA-256") == refused)
        #expect(Quirks(LibrdkafkaVersion(2, 0, 2)).explain(refused, mechanism: "PLAIN") == refused)
        let other = KafkaError(.brokersUnreachable, recovery: .retry, reason: "connection refused")
        #expect(Quirks(LibrdkafkaVersion(2, 0, 2)).explain(other, mechanism: "SCRAM-SHA-256") == other)
    }

    @Test func onlyTheGenerationOfAFormThatIsKnownIsRead() {
        func generation(_ bytes: [UInt8]) -> Int32 { bytes.withUnsafeBytes { GroupGeneration.of(serialized: $0) } }
        let five = withUnsafeBytes(of: Int32(5)) { Array($0) }
        #expect(generation(Array("CGMDv2:".utf8) + five + Array("billing".utf8)) == 5)
        #expect(generation(Array("CGMDv3:".utf8) + five) == -1)
        #expect(generation(Array("CGMDv2:".utf8) + five.dropLast()) == -1)
        #expect(generation([]) == -1)
    }

    @Test func aClientThatNeverGotAnAssignmentIsDestroyedAtOnceOnlyWhereDestroyingItWouldEndTheProcess() {
        let old = Quirks(LibrdkafkaVersion(2, 2, 0))
        #expect(Quirks.endsAtOnce(old.destroyFlags(isJoining: true)))
        #expect(!Quirks.endsAtOnce(old.destroyFlags(isJoining: false)))
        #expect(!Quirks.endsAtOnce(Quirks(LibrdkafkaVersion(2, 3, 0)).destroyFlags(isJoining: true)))
    }

    @Test func settingsOfNewerVersionsAreMadeWhereTheVersionHasThemAndTheApplicationHasNotMadeThem() {
        func names(_ version: LibrdkafkaVersion, isConsumer: Bool = true, _ made: [String: String] = [:]) -> [String] {
            Quirks(version).defaults(isConsumer: isConsumer) { made[$0] }.map(\.name)
        }
        #expect(names(LibrdkafkaVersion(2, 0, 2)).isEmpty)
        #expect(names(LibrdkafkaVersion(2, 2, 0)) == ["fetch.queue.backoff.ms"])
        #expect(names(LibrdkafkaVersion(2, 2, 0), ["fetch.queue.backoff.ms": "5"]).isEmpty)
        let transactional = ["transactional.id": "billing"]
        #expect(names(LibrdkafkaVersion(2, 11, 0), isConsumer: false, transactional) == ["metadata.recovery.strategy"])
        #expect(names(LibrdkafkaVersion(2, 10, 0), isConsumer: false, transactional).isEmpty)
    }

    @Test func thePackageRunsOnNothingOlderThanItSays() {
        #expect(LibrdkafkaVersion.current >= LibrdkafkaVersion(2, 0, 2))
    }
}
