import KafkaDelivery
import KafkaDeliveryTesting
import Synchronization
import Testing

/// What happens when handling a message fails: it is handed over again, in its place, until it is handled or stored as a
/// dead letter. Nothing is skipped.
@Suite(.timeLimit(.minutes(5)))
struct FailureHandlingTests {
    struct Failure: Error {}

    /// A topic with numbered messages, `keys` of them in turn, in so many partitions.
    private func filledTopic(
        _ cluster: TestCluster,
        count: Int,
        keys: Int = 1,
        partitions: Int = 1,
        name: String = #function
    ) async throws -> String {
        let topic = try await cluster.makeTopic(partitions: partitions, name: name)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let results = await producer.send(
                contentsOf: (0..<count).map { KafkaMessage(topic: topic, key: "\($0 % keys)", value: "\($0)") }
            )
            for result in results { _ = try result.get() }
        }
        return topic
    }

    /// Waits for what a group has committed: a new member of the group gets what comes after it.
    private func nextValue(_ cluster: TestCluster, _ configuration: KafkaConsumer.Configuration) async throws -> String?
    {
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            for try await delivery in consumer.deliveries { return delivery.value?.string }
            return nil
        }
    }

    @Test func aNegativelyAcknowledgedMessageComesAgainBeforeAnythingLater() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 10)
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [topic]), logger: .test) { consumer in
            var seen: [String] = []
            for try await delivery in consumer.deliveries {
                seen.append("\(delivery.offset).\(delivery.attempt)")
                if delivery.offset == 3, delivery.attempt < 4 {
                    delivery.negativelyAcknowledge(Failure(), after: .milliseconds(delivery.attempt * 10))
                } else {
                    delivery.acknowledge()
                }
                if delivery.offset == 9 { break }
            }
            #expect(
                seen == ["0.1", "1.1", "2.1", "3.1", "3.2", "3.3", "3.4", "4.1", "5.1", "6.1", "7.1", "8.1", "9.1"]
            )
            try await consumer.commit()
        }
    }

    @Test func whatFailedTogetherComesAgainInItsOrderWhateverTheDelays() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 4)
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [topic]), logger: .test) { consumer in
            let failed = try await consumer.take(3)
            for delivery in failed.reversed() {
                delivery.negativelyAcknowledge(Failure(), after: .milliseconds(delivery.offset == 0 ? 100 : 0))
            }
            let again = try await consumer.take(4)
            #expect(again.map { "\($0.offset).\($0.attempt)" } == ["0.2", "1.2", "2.2", "3.1"])
        }
    }

    @Test func theFirstVerdictCountsAndAContradictingOneIsReported() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 2)
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [topic]), logger: .test) { consumer in
            let events = consumer.events
            var attempts: [Int] = []
            for try await delivery in consumer.deliveries {
                if delivery.offset == 1 { break }
                attempts.append(delivery.attempt)
                if delivery.attempt == 1 {
                    delivery.negativelyAcknowledge()
                    delivery.acknowledge()
                } else {
                    delivery.acknowledge()
                    delivery.acknowledge()
                }
            }
            #expect(attempts == [1, 2])
            for await event in events {
                if case .contradictingVerdict(let source) = event {
                    #expect(source.offset == 0)
                    break
                }
            }
        }
    }

    @Test func aDeliveryThatBacksOffIsNeverCommittedPast() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 5)
        let configuration = cluster.consumerConfiguration(topics: [topic])
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            var iterator = consumer.deliveries.makeAsyncIterator()
            var deliveries: [KafkaConsumer.Delivery] = []
            for _ in 0..<5 { deliveries.append(try #require(try await iterator.next())) }
            for delivery in deliveries {
                if delivery.offset == 2 {
                    delivery.negativelyAcknowledge(after: .seconds(3_600))
                } else {
                    delivery.acknowledge()
                }
            }
            try await consumer.commit()
        }
        #expect(try await nextValue(cluster, configuration) == "2")
    }

    @Test(arguments: [
        KafkaConsumer.Concurrency.perPartition, .perKey(maximum: 8), .perKey(maximum: 1), .unordered(maximum: 8),
    ])
    func everyMessageIsHandledThoughMostFailSeveralTimes(concurrency: KafkaConsumer.Concurrency) async throws {
        let cluster = try TestCluster()
        let count = 600
        let topic = try await filledTopic(cluster, count: count, keys: 37, partitions: 3)
        let configuration = cluster.consumerConfiguration(topics: [topic])
        let handled = Recorder()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(
                concurrency: concurrency,
                retry: .fixed(.milliseconds(1), maximumAttempts: nil)
            ) { delivery in
                let number = Int(delivery.value?.string ?? "") ?? -1
                // By its number a message fails none to three times.
                if delivery.attempt <= number % 4 { throw Failure() }
                if handled.record(key: delivery.key?.string ?? "", number) == count {
                    Task { await consumer.close() }
                }
            }
        }
        let byKey = handled.numbers
        #expect(byKey.values.map(\.count).reduce(0, +) == count)
        if concurrency != .unordered(maximum: 8) {
            for numbers in byKey.values { #expect(numbers == numbers.sorted(), "a key's messages keep their order") }
        }
    }

    @Test func whatCannotBeHandledBecomesADeadLetterAndTheRestGoesOn() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 20, keys: 5)
        let letters = try await cluster.makeTopic(name: "letters")
        let configuration = cluster.consumerConfiguration(topics: [topic])
        let handled = Recorder()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(
                retry: .fixed(.milliseconds(1), maximumAttempts: 3),
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { delivery in
                if delivery.offset == 7 { throw Failure() }
                if handled.record(key: "", Int(delivery.offset)) == 19 { Task { await consumer.close() } }
            }
        }
        #expect(handled.numbers[""] == Array(0..<7) + Array(8..<20))
        let listener = cluster.consumerConfiguration(topics: [letters])
        try await withKafkaConsumer(listener, logger: .test) { consumer in
            for try await delivery in consumer.deliveries {
                let letter = try #require(delivery.deadLetter)
                #expect(letter.originalTopic == topic)
                #expect(letter.originalPartition == 0)
                #expect(letter.originalOffset == 7)
                #expect(letter.originalConsumerGroup == configuration.group)
                #expect(letter.attempts == 3)
                #expect(letter.exceptionType?.hasSuffix("Failure") == true)
                #expect(delivery.value == "7")
                #expect(delivery.key == "2")
                break
            }
        }
        await producer.close()
        #expect(try await Kcat(cluster).count(letters, partition: 0) == 1)
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aDeadLetterThatCannotBePublishedIsTriedAgainAndTheOriginalIsNotSettledBefore() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 1)
        let letters = try await cluster.makeTopic(name: "letters")
        // The producer of dead letters has a cluster of its own, which is away at first.
        let away = try TestCluster()
        try away.mock.createTopic(letters)
        try away.mock.takeDown()
        var settings = away.producerConfiguration()
        settings.messageTimeout = .milliseconds(200)
        let producer = try KafkaProducer(settings, logger: .test)
        let configuration = cluster.consumerConfiguration(topics: [topic])
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            async let handling: Void = consumer.forEach(
                retry: .none,
                deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
            ) { _ in throw Failure() }
            var failures = 0
            for await event in events {
                if case .deadLetterFailed = event {
                    failures += 1
                    if failures == 1 { try away.mock.bringUp() }
                }
                if case .deadLettered(let source, let report) = event {
                    #expect(source.offset == 0)
                    #expect(report.topic == letters)
                    break
                }
            }
            #expect(failures >= 1)
            await consumer.close()
            try await handling
        }
        // A confirmation may come later than the producer waits here: then the broker has it more than once.
        #expect(try await Kcat(away).count(letters, partition: 0) >= 1)
        await producer.close()
    }

    @Test func withoutDeadLettersGivingUpEndsTheLoopAndLeavesTheMessage() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 3)
        let configuration = cluster.consumerConfiguration(topics: [topic])
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            await #expect(throws: Failure.self) {
                try await consumer.forEach(concurrency: .perKey(maximum: 4), retry: .none) { delivery in
                    if delivery.offset == 1 { throw Failure() }
                }
            }
        }
        #expect(try await nextValue(cluster, configuration) == "1")
    }

    @Test func aBatchIsSettledAsAWholeOrOneByOne() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 100)
        let configuration = cluster.consumerConfiguration(topics: [topic])
        let handled = Recorder()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEachBatch(
                maximumCount: 30,
                maximumWait: .milliseconds(50),
                retry: .fixed(.milliseconds(1), maximumAttempts: nil)
            ) { batch in
                #expect((1...30).contains(batch.count))
                for delivery in batch {
                    // What comes before the failing one is settled; the rest of the batch comes again.
                    if delivery.offset == 42, delivery.attempt == 1 { throw Failure() }
                    delivery.acknowledge()
                    if handled.record(key: "", Int(delivery.offset)) == 100 { Task { await consumer.close() } }
                }
            }
        }
        #expect(handled.numbers[""] == Array(0..<100))
    }

    @Test func backingOffHoldsOnePartitionBackAndNotTheOthers() async throws {
        let cluster = try TestCluster()
        let topic = try await filledTopic(cluster, count: 300, keys: 50, partitions: 3)
        let handled = Recorder()
        try await withKafkaConsumer(cluster.consumerConfiguration(topics: [topic]), logger: .test) { consumer in
            let events = consumer.events
            let handling = Task {
                try await consumer.forEach(retry: .fixed(.seconds(3_600), maximumAttempts: nil)) { delivery in
                    if delivery.partition == 0 { throw Failure() }
                    _ = handled.record(key: "\(delivery.partition)", Int(delivery.offset))
                }
            }
            for await event in events {
                if case .retried(let source, _, _, _) = event {
                    #expect(source.partition.partition == 0)
                    #expect(source.offset == 0)
                    break
                }
            }
            // Everything else is handled while the first message of partition 0 backs off.
            let others = try await Kcat(cluster).count(topic, partition: 1) + Kcat(cluster).count(topic, partition: 2)
            await handled.wait(for: others)
            let summary = await consumer.close()
            #expect(summary.unsettled == 1)
            try await handling.value
        }
    }
}

/// What was handled, by key and in order.
final class Recorder: Sendable {
    private struct State {
        var numbers: [String: [Int]] = [:]
        var count = 0
        var waiter: (count: Int, continuation: CheckedContinuation<Void, Never>)?
    }

    private let state = Mutex(State())

    /// Notes a message; returns how many were noted so far.
    func record(key: String, _ number: Int) -> Int {
        let (count, continuation) = state.withLock { state in
            state.numbers[key, default: []].append(number)
            state.count += 1
            guard let waiter = state.waiter, waiter.count <= state.count else {
                return (state.count, CheckedContinuation<Void, Never>?.none)
            }
            state.waiter = nil
            return (state.count, waiter.continuation)
        }
        continuation?.resume()
        return count
    }

    func wait(for count: Int) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                if state.count >= count { return true }
                state.waiter = (count, continuation)
                return false
            }
            if isThere { continuation.resume() }
        }
    }

    var numbers: [String: [Int]] { state.withLock { $0.numbers } }
}
