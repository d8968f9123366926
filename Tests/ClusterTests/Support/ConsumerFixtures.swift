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
        strategy: KafkaConsumer.Configuration.AssignmentStrategy = .cooperativeSticky,
        groupProtocol: KafkaConsumer.Configuration.GroupProtocol = Self.groupProtocol
    ) -> KafkaConsumer.Configuration {
        var configuration = consumerConfiguration(topics: topics, group: group)
        configuration.assignmentStrategies = [strategy]
        configuration.maximumFetchWait = .milliseconds(10)
        if strategy != .cooperativeSticky || groupProtocol == .classic { configuration.useClassicGroupProtocol() }
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

extension KafkaConsumer.Configuration {
    /// For tests of what the classic protocol alone does, whatever the others speak; with quick rebalances.
    mutating func useClassicGroupProtocol() {
        groupProtocol = .classic
        sessionTimeout = TestCluster.isMock ? .seconds(4) : .seconds(6)
        heartbeatInterval = .milliseconds(100)
        repeatForgottenJoins()
    }

    /// Lets a join be asked again after 48 seconds, and not after 5 minutes: librdkafka waits for the answer for 3 s longer than
    /// `max.poll.interval.ms`, and a mock cluster that gets no turn for a second forgets a member whose join it has not answered.
    mutating func repeatForgottenJoins() {
        if TestCluster.isMock { additionalProperties["max.poll.interval.ms"] = "45000" }
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

/// Polls a condition that no event tells of. The intervals grow to 20 ms, so that the many tests that wait at the same time
/// leave the cores to what they wait for. The suite's time limit ends it.
func waitUntil(_ condition: () async throws -> Bool) async throws {
    var interval = Duration.milliseconds(1)
    while try await !condition() {
        try await Task.sleep(for: interval)
        interval = min(interval * 2, .milliseconds(20))
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

/// A value that several tasks of a test change, and that others wait for.
final class Shared<Value: Sendable>: Sendable {
    private struct State {
        var value: Value
        var waiters: [UInt64: Waiter] = [:]
        var nextID: UInt64 = 0
    }

    private struct Waiter {
        let condition: @Sendable (Value) -> Bool
        let continuation: CheckedContinuation<Void, any Error>
    }

    private let state: Mutex<State>

    init(_ value: Value) {
        self.state = Mutex(State(value: value))
    }

    var value: Value { state.withLock { $0.value } }

    @discardableResult
    func change<Result: Sendable>(_ body: (inout Value) -> Result) -> Result {
        let (result, fulfilled) = state.withLock { state in
            let result = body(&state.value)
            let fulfilled = state.waiters.filter { $0.value.condition(state.value) }
            for id in fulfilled.keys { state.waiters[id] = nil }
            return (result, fulfilled.values.map(\.continuation))
        }
        for continuation in fulfilled { continuation.resume() }
        return result
    }

    /// Waits until something is so, but not for ever. For what only decides when the next thing is done.
    func wait(atMost limit: Duration, until condition: @escaping @Sendable (Value) -> Bool) async {
        await withTaskGroup { group in
            group.addTask { try? await self.wait(until: condition) }
            group.addTask { try? await Task.sleep(for: limit) }
            await group.next()
            group.cancelAll()
        }
    }

    /// Waits until a change makes something so, or it is so already.
    func wait(until condition: @escaping @Sendable (Value) -> Bool) async throws {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let outcome: Result<Void, any Error>? = state.withLock { state in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if condition(state.value) { return .success(()) }
                    state.waiters[id] = Waiter(condition: condition, continuation: continuation)
                    return nil
                }
                if let outcome { continuation.resume(with: outcome) }
            }
        } onCancel: {
            let waiter = state.withLock { $0.waiters.removeValue(forKey: id) }
            waiter?.continuation.resume(throwing: CancellationError())
        }
    }
}
