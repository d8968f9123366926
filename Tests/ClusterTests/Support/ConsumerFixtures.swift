import KafkaDelivery
import Logging
import Synchronization
import Testing

extension TestCluster {
    /// The settings of a consumer whose group rebalances as quickly as the cluster allows: a mock group takes the
    /// session time-out less a second for every join and departure, and a real one refuses less than 6 s.
    func quickConsumer(
        _ topics: String...,
        group: String = Self.uniqueName("group"),
        strategy: KafkaConsumer.Configuration.AssignmentStrategy = .cooperativeSticky
    ) -> KafkaConsumer.Configuration {
        var configuration = consumerConfiguration(topics: topics, group: group)
        configuration.assignmentStrategies = [strategy]
        configuration.maximumFetchWait = .milliseconds(10)
        configuration.additionalProperties = [
            "session.timeout.ms": Self.isMock ? "4000" : "6000",
            "heartbeat.interval.ms": "100",
        ]
        return configuration
    }

    /// Sends `count` messages to each of the partitions, valued "0", "1" and so on.
    func fill(_ topic: String, partitions: Int = 1, count: Int, from first: Int = 0) async throws {
        try await withKafkaProducer(producerConfiguration(), logger: .test) { producer in
            for partition in 0..<partitions {
                let messages = (first..<first + count).lazy.map { number in
                    KafkaMessage(topic: topic, partition: partition, value: "\(number)")
                }
                for result in await producer.send(contentsOf: messages) { _ = try result.get() }
            }
        }
    }
}

extension KafkaConsumer {
    /// The next deliveries, in a loop of its own that is left when there are enough.
    func take(_ count: Int) async throws -> [Delivery] {
        var taken: [Delivery] = []
        guard count > 0 else { return taken }
        for try await delivery in deliveries {
            taken.append(delivery)
            if taken.count == count { break }
        }
        try #require(taken.count == count, "the loop ended after \(taken.count) of \(count) deliveries")
        return taken
    }

    /// Takes deliveries and lets go of them at once.
    func takeOffsets(_ count: Int) async throws -> [Int64] {
        try await take(count).map(\.offset)
    }
}

extension KafkaConsumer.Events {
    /// Waits for the first event that `body` makes something of.
    func first<Result>(_ body: (KafkaConsumer.Event) -> Result?) async throws -> Result {
        for await event in self {
            if let result = body(event) { return result }
        }
        throw TestFailure("the events ended before the one that was waited for")
    }
}

extension KafkaConsumer.Delivery {
    var text: String { value?.string ?? "" }

    var topicPartition: KafkaTopicPartition { KafkaTopicPartition(topic: topic, partition: partition) }
}

/// Looks again, letting others run in between, until something is so. The suite's time limit ends it.
func waitUntil(_ condition: () async throws -> Bool) async throws {
    while try await !condition() {
        try Task.checkCancellation()
        await Task.yield()
    }
}

/// Runs something and fails the test where it takes longer than it may.
@discardableResult
func expectWithin<Result>(
    _ limit: Duration,
    _ body: () async throws -> Result,
    sourceLocation: SourceLocation = #_sourceLocation
) async rethrows -> Result {
    let start = ContinuousClock.now
    let result = try await body()
    let elapsed = start.duration(to: .now)
    #expect(elapsed < limit, sourceLocation: sourceLocation)
    return result
}

/// A value that several tasks of a test change.
final class Shared<Value: Sendable>: Sendable {
    private let mutex: Mutex<Value>

    init(_ value: Value) {
        self.mutex = Mutex(value)
    }

    var value: Value { mutex.withLock { $0 } }

    @discardableResult
    func change<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
        mutex.withLock { value in body(&value) }
    }
}
