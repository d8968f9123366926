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
        let old = LibrdkafkaVersion(2, 0, 2).explain(refused, mechanism: "SCRAM-SHA-256")
        #expect(old.reason.hasPrefix("invalid credentials; "))
        #expect(old.reason.contains("librdkafka 2.0.2"))
        #expect(old.reason.contains("2.6.1"))
        #expect(old.kind == .authentication)
        #expect(old.recovery == .fixRequest)
        #expect(LibrdkafkaVersion(2, 6, 1).explain(refused, mechanism: "SCRAM-SHA-256") == refused)
        #expect(LibrdkafkaVersion(2, 0, 2).explain(refused, mechanism: "PLAIN") == refused)
        let other = KafkaError(.brokersUnreachable, recovery: .retry, reason: "connection refused")
        #expect(LibrdkafkaVersion(2, 0, 2).explain(other, mechanism: "SCRAM-SHA-256") == other)
    }

    @Test func thePackageRunsOnNothingOlderThanItSays() {
        #expect(LibrdkafkaVersion.current >= LibrdkafkaVersion(2, 0, 2))
    }
}
