import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import OutboxDelivery
import OutboxKafka
import Synchronization
import Testing

/// Consuming through an inbox whose database fails, or whose messages are given up.
@Suite(.timeLimit(.minutes(2)))
struct InboxHandlingTests {
    private struct Failure: Error {}

    /// A topic of one partition with messages, its dead letters, and a consumer that begins at an inbox.
    private struct Place {
        let cluster: MockCluster
        let inbox: MemoryInbox
        let producer: KafkaProducer
        let partition = InboxPlace(topic: "orders", partition: 0)

        /// - Parameter size: How many bytes a message has; dead letters have 10,000 at most.
        static func make(_ count: Int, size: Int = 1, _ inbox: MemoryInbox) async throws -> Place {
            let cluster = try MockCluster()
            for topic in ["orders", "orders-dlt"] { try cluster.createTopic(topic, partitions: 1) }
            let writer = try KafkaProducer(.init(bootstrapServers: cluster.bootstrapServers))
            for _ in 0..<count {
                let value = KafkaBytes([UInt8](repeating: 1, count: size))
                try await writer.send(KafkaMessage(topic: "orders", partition: 0, key: "a", value: value))
            }
            await writer.close()
            var configuration = KafkaProducer.Configuration(bootstrapServers: cluster.bootstrapServers)
            configuration.maximumMessageBytes = 10_000
            return Place(cluster: cluster, inbox: inbox, producer: try KafkaProducer(configuration))
        }

        func consumer() throws -> KafkaConsumer {
            var configuration = KafkaConsumer.Configuration(
                bootstrapServers: cluster.bootstrapServers,
                partitions: [KafkaTopicPartition(topic: "orders", partition: 0)]
            )
            configuration.maximumFetchWait = .milliseconds(10)
            configuration.autoOffsetReset = .beginning
            configuration.begin(at: inbox)
            return try KafkaConsumer(configuration, logger: ExactlyOnceFixture.logger)
        }

        func letters(_ onRefusal: KafkaDeadLetters.Refusal = .hold) -> KafkaDeadLetters {
            KafkaDeadLetters(producer: producer, onRefusal: onRefusal)
        }

        /// How many dead letters there are.
        func letterCount() async throws -> Int {
            try await TopicReader.all("orders-dlt", partitions: 1, servers: cluster.bootstrapServers).count
        }

        func close() async {
            await producer.close()
            await cluster.shutdown()
        }
    }

    private static func error(
        _ kind: OutboxError.Kind,
        _ code: String? = nil,
        _ recovery: DeliveryRecovery = .retry
    ) -> OutboxError {
        OutboxError(kind: kind, persistence: .notPersisted, recovery: recovery, reason: "of a test", code: code)
    }

    private func waitUntil(_ condition: () async throws -> Bool) async throws {
        while try await !condition() { await Task.yield() }
    }

    // MARK: Messages that come again

    @Test func aMessageThatAHandOverSendsBackIsHandledAgain() async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(1, size: 20_000, inbox)
        let (handled, handedOver) = (Counter(), Counter())
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEach(
            inbox: inbox,
            retry: .none,
            deadLetters: place.letters(
                .handOver { delivery, _, _ in
                    // The first time it has no place for it.
                    if handedOver.next() == 1 { delivery.negativelyAcknowledge(after: .zero) }
                }
            ),
            logger: ExactlyOnceFixture.logger
        ) { _, _ in
            _ = handled.next()
            throw Failure()
        }
        try await waitUntil { inbox.next(place.partition) == 1 }
        #expect(handedOver.value == 2)
        #expect(handled.value == 2)
        await consumer.close(within: .seconds(10))
        try await loop
        await place.close()
    }

    @Test func aMessageThatItsHandlerSendsBackHasNoEffectUntilItComesAgain() async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(1, inbox)
        let handled = Counter()
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEach(
            inbox: inbox,
            retry: .none,
            deadLetters: place.letters(),
            logger: ExactlyOnceFixture.logger
        ) { delivery, transaction in
            transaction.note(delivery.offset)
            if handled.next() < 3 { delivery.negativelyAcknowledge(after: .zero) }
        }
        try await waitUntil { inbox.next(place.partition) == 1 }
        #expect(handled.value == 3)
        #expect(inbox.effects == [0])
        await consumer.close(within: .seconds(10))
        try await loop
        #expect(try await place.letterCount() == 0)
        await place.close()
    }

    @Test func aBatchOfWhichItsHandlerSendsAMessageBackHasNoEffectUntilItComesAgain() async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(5, inbox)
        let handled = Counter()
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEachBatch(
            inbox: inbox,
            maximumCount: 3,
            maximumWait: .seconds(1),
            retry: .none,
            deadLetters: place.letters(),
            logger: ExactlyOnceFixture.logger
        ) { deliveries, transaction in
            for delivery in deliveries { transaction.note(delivery.offset) }
            if handled.next() == 1 { deliveries.last?.negativelyAcknowledge(after: .zero) }
        }
        try await waitUntil { inbox.next(place.partition) == 5 }
        #expect(inbox.effects == [0, 1, 2, 3, 4])
        let summary = await consumer.close(within: .seconds(10))
        #expect(summary.unsettled == 0)
        try await loop
        #expect(try await place.letterCount() == 0)
        await place.close()
    }

    // MARK: Databases that are away

    // Given up first, the later one would move the offset past the earlier one, which has had one attempt less.
    @Test func aMessageOfABatchIsNotGivenUpBeforeAnEarlierOneThatComesAgain() async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(2, inbox)
        let handled = Counter()
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEachBatch(
            inbox: inbox,
            maximumCount: 2,
            maximumWait: .seconds(1),
            retry: .fixed(.zero, maximumAttempts: 2),
            deadLetters: place.letters(),
            logger: ExactlyOnceFixture.logger
        ) { deliveries, transaction in
            for delivery in deliveries { transaction.note(delivery.offset) }
            switch handled.next() {
            case 1: deliveries.last?.negativelyAcknowledge(after: .zero)
            case 2: throw Failure()
            default: break
            }
        }
        try await waitUntil { inbox.next(place.partition) == 2 }
        #expect(inbox.effects == [0])
        await consumer.close(within: .seconds(10))
        try await loop
        #expect(try await place.letterCount() == 1)
        await place.close()
    }

    @Test func aHandlerThatAcknowledgesAndFailsEndsTheLoopAndNoMessageIsPassedOver() async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(2, inbox)
        for isBatch in [true, false] {
            let consumer = try place.consumer()
            let error = await #expect(throws: OutboxError.self) {
                if isBatch {
                    try await consumer.forEachBatch(
                        inbox: inbox,
                        maximumCount: 2,
                        maximumWait: .seconds(1),
                        retry: .none,
                        deadLetters: place.letters(),
                        logger: ExactlyOnceFixture.logger
                    ) { deliveries, _ in
                        deliveries.first?.acknowledge()
                        deliveries.last?.negativelyAcknowledge(after: .zero)
                    }
                } else {
                    let logger = ExactlyOnceFixture.logger
                    try await consumer.forEach(inbox: inbox, retry: .none, logger: logger) { delivery, _ in
                        delivery.acknowledge()
                        throw Failure()
                    }
                }
            }
            #expect(error?.kind == .invalidMessage)
            await consumer.close(within: .seconds(10))
        }
        #expect(inbox.next(place.partition) == nil && inbox.effects == [])
        #expect(try await place.letterCount() == 0)
        await place.close()
    }

    @Test(arguments: [true, false], [KafkaRetryPolicy.none, .exponential(maximumAttempts: nil)])
    func closingEndsTheWaitForADatabaseThatIsAway(hasLetters: Bool, retry: KafkaRetryPolicy) async throws {
        let inbox = MemoryInbox { _ in Self.error(.unavailable) }
        let place = try await Place.make(1, inbox)
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEach(
            inbox: inbox,
            retry: retry,
            deadLetters: hasLetters ? place.letters() : nil,
            logger: ExactlyOnceFixture.logger
        ) { _, _ in }
        try await waitUntil { inbox.calls > 0 }
        let summary = await consumer.close(within: .seconds(30))
        try await loop
        #expect(summary.unsettled == 1)
        #expect(try await place.letterCount() == 0)
        await place.close()
    }

    @Test func closingEndsABatchsWaitForADatabaseThatIsAway() async throws {
        let inbox = MemoryInbox { _ in Self.error(.unavailable) }
        let place = try await Place.make(3, inbox)
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEachBatch(
            inbox: inbox,
            maximumCount: 3,
            maximumWait: .seconds(60),
            retry: .none,
            logger: ExactlyOnceFixture.logger
        ) { _, _ in }
        try await waitUntil { inbox.calls > 0 }
        let summary = await consumer.close(within: .seconds(30))
        try await loop
        #expect(summary.unsettled == 3)
        await place.close()
    }

    @Test func aMessageWhoseLetterIsStoredStaysUnsettledWhereItsOffsetCannotBeMoved() async throws {
        // The first attempt reaches the handler.
        let inbox = MemoryInbox { $0 == 1 ? nil : Self.error(.unavailable) }
        let place = try await Place.make(1, inbox)
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEach(
            inbox: inbox,
            retry: .none,
            deadLetters: place.letters(),
            logger: ExactlyOnceFixture.logger
        ) { _, _ in throw Failure() }
        try await waitUntil { inbox.calls > 1 }
        let summary = await consumer.close(within: .seconds(30))
        try await loop
        #expect(summary.unsettled == 1)
        #expect(try await place.letterCount() == 1)
        await place.close()
    }

    @Test func theOffsetOfAMessageWhoseLetterIsStoredIsMovedOnceTheDatabaseAllowsIt() async throws {
        let inbox = MemoryInbox { (2...4).contains($0) ? Self.error(.database, "42501", .fixRequest) : nil }
        let place = try await Place.make(1, inbox)
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEach(
            inbox: inbox,
            retry: .none,
            deadLetters: place.letters(),
            logger: ExactlyOnceFixture.logger
        ) { _, _ in throw Failure() }
        try await waitUntil { inbox.next(place.partition) == 1 }
        let summary = await consumer.close(within: .seconds(30))
        try await loop
        #expect(summary.unsettled == 0)
        #expect(try await place.letterCount() == 1)
        await place.close()
    }

    @Test(arguments: [KafkaRetryPolicy.none, .exponential(maximumAttempts: nil)])
    func anInboxThatWillNotWorkEndsTheLoopAndMakesNoDeadLetters(retry: KafkaRetryPolicy) async throws {
        let inbox = MemoryInbox { _ in Self.error(.database, "42P01", .fixRequest) }
        let place = try await Place.make(3, inbox)
        let consumer = try place.consumer()
        let error = await #expect(throws: OutboxError.self) {
            try await consumer.forEach(
                inbox: inbox,
                retry: retry,
                deadLetters: place.letters(),
                logger: ExactlyOnceFixture.logger
            ) { _, _ in }
        }
        #expect(error?.code == "42P01")
        #expect(inbox.calls == 1)
        await consumer.close(within: .seconds(10))
        #expect(try await place.letterCount() == 0)
        await place.close()
    }
}

private final class Counter: Sendable {
    // A handler's task, a closure's, and the test that looks.
    private let count = Mutex(0)

    var value: Int { count.withLock { $0 } }

    func next() -> Int {
        count.withLock { count in
            count += 1
            return count
        }
    }
}
