import Foundation
import KafkaDelivery
import Testing

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

    @Test func thePackageRunsOnNothingOlderThanItSays() {
        #expect(LibrdkafkaVersion.current >= LibrdkafkaVersion(2, 0, 2))
    }
}
