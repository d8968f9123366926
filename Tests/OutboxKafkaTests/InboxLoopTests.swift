import KafkaDelivery
import OutboxDelivery
import OutboxKafka
import Testing

/// Loops over an inbox that end, and those that come after them on the same consumer.
@Suite(.timeLimit(.minutes(5)))
struct InboxLoopTests {
    private struct Failure: Error {}

    private typealias Place = MemoryInboxFixture

    private let logger = ExactlyOnceFixture.logger

    private static func error(_ code: String) -> OutboxError {
        OutboxError(kind: .database, persistence: .notPersisted, recovery: .fixRequest, reason: "of a test", code: code)
    }

    private func waitUntil(_ condition: () async throws -> Bool) async throws {
        while try await !condition() { try await Task.sleep(for: .milliseconds(2)) }
    }

    private func loop(
        _ consumer: KafkaConsumer,
        _ inbox: MemoryInbox,
        isBatch: Bool,
        retry: KafkaRetryPolicy = .none,
        deadLetters: KafkaDeadLetters? = nil,
        _ handler: @escaping @Sendable ([KafkaConsumer.Delivery], MemoryInbox.Transaction) async throws -> Void
    ) async throws {
        if isBatch {
            try await consumer.forEachBatch(
                inbox: inbox,
                maximumCount: 2,
                maximumWait: .seconds(1),
                retry: retry,
                deadLetters: deadLetters,
                logger: logger,
                handler
            )
        } else {
            try await consumer.forEach(inbox: inbox, retry: retry, deadLetters: deadLetters, logger: logger) {
                try await handler([$0], $1)
            }
        }
    }

    // Left behind, it would be passed over by the offset that is stored for the next one.
    @Test(arguments: [true, false])
    func theNextLoopBeginsWithTheMessageThatEndedTheLastOne(isBatch: Bool) async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(3, inbox)
        let consumer = try place.consumer()
        await #expect(throws: Failure.self) {
            try await loop(consumer, inbox, isBatch: isBatch) { _, _ in throw Failure() }
        }
        async let next: Void = loop(consumer, inbox, isBatch: isBatch) { deliveries, transaction in
            for delivery in deliveries { transaction.note(delivery.offset) }
        }
        try await waitUntil { inbox.next(place.partition) == 3 }
        #expect(inbox.effects == [0, 1, 2])
        let summary = await consumer.close(within: .seconds(10))
        #expect(summary.unsettled == 0)
        try await next
        await place.close()
    }

    @Test(arguments: [true, false])
    func theNextLoopBeginsWithTheMessageThatACancelledOneHad(isBatch: Bool) async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(3, inbox)
        let consumer = try place.consumer()
        let handled = Counter()
        let cancelled = Task {
            try await loop(consumer, inbox, isBatch: isBatch) { _, _ in
                _ = handled.next()
                // Ends when the task is cancelled.
                for await _ in AsyncStream<Never>.makeStream().stream {}
                try Task.checkCancellation()
            }
        }
        try await waitUntil { handled.value == 1 }
        cancelled.cancel()
        _ = await cancelled.result
        #expect(inbox.next(place.partition) == nil)
        async let next: Void = loop(consumer, inbox, isBatch: isBatch) { deliveries, transaction in
            for delivery in deliveries { transaction.note(delivery.offset) }
        }
        try await waitUntil { inbox.next(place.partition) == 3 }
        #expect(inbox.effects == [0, 1, 2])
        await consumer.close(within: .seconds(10))
        try await next
        await place.close()
    }

    @Test func theNextLoopBeginsBehindABatchWithTheMessageThatWasGivenUp() async throws {
        // The first attempt reaches the handler.
        let inbox = MemoryInbox { $0 == 2 ? Self.error("42P01") : nil }
        let place = try await Place.make(2, inbox)
        let consumer = try place.consumer()
        // The first message comes again, and the second one, which is given up, waits behind it.
        let error = await #expect(throws: OutboxError.self) {
            try await loop(consumer, inbox, isBatch: true, deadLetters: place.letters()) { deliveries, _ in
                deliveries.first?.negativelyAcknowledge(after: .zero)
                throw Failure()
            }
        }
        #expect(error?.code == "42P01")
        async let next: Void = loop(consumer, inbox, isBatch: true, deadLetters: place.letters()) {
            deliveries,
            transaction in
            for delivery in deliveries { transaction.note(delivery.offset) }
        }
        try await waitUntil { inbox.next(place.partition) == 2 }
        // What a loop has given up the next one tries again.
        #expect(inbox.effects == [0, 1])
        let summary = await consumer.close(within: .seconds(10))
        #expect(summary.unsettled == 0)
        try await next
        #expect(try await place.letterCount() == 0)
        await place.close()
    }

    // The message counts as settled, and its effect was rolled back.
    @Test(arguments: [true, false])
    func aHandlerThatAcknowledgesAndWhoseCommitFailsEndsTheLoopAndNoMessageIsPassedOver(isBatch: Bool) async throws {
        let inbox = MemoryInbox(failureAtCommit: { $0 == 1 ? Self.error("23503") : nil })
        let place = try await Place.make(3, inbox)
        let consumer = try place.consumer()
        let handler: @Sendable ([KafkaConsumer.Delivery], MemoryInbox.Transaction) async throws -> Void = {
            deliveries,
            transaction in
            for delivery in deliveries {
                transaction.note(delivery.offset)
                delivery.acknowledge()
            }
        }
        let retry = KafkaRetryPolicy.exponential(maximumAttempts: nil)
        // The next one on the same consumer cannot go on either: it would begin behind the message.
        for _ in 1...2 {
            let error = await #expect(throws: OutboxError.self) {
                try await loop(consumer, inbox, isBatch: isBatch, retry: retry, deadLetters: place.letters(), handler)
            }
            #expect(error?.kind == .invalidMessage)
        }
        #expect(inbox.next(place.partition) == nil && inbox.effects == [])
        await consumer.close(within: .seconds(10))
        let another = try place.consumer()
        async let next: Void = loop(another, inbox, isBatch: isBatch, retry: retry, handler)
        try await waitUntil { inbox.next(place.partition) == 3 }
        #expect(inbox.effects == [0, 1, 2])
        await another.close(within: .seconds(10))
        try await next
        #expect(try await place.letterCount() == 0)
        await place.close()
    }

    @Test func aMessageThatItsHandlerSendsBackTooLateEndsNoLoop() async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(2, inbox)
        let consumer = try place.consumer()
        let partition = KafkaTopicPartition(topic: "orders", partition: 0)
        let handled = Counter()
        async let next: Void = loop(consumer, inbox, isBatch: false) { deliveries, transaction in
            if handled.next() == 1 {
                try await consumer.seek(partition, to: .beginning)
                deliveries.first?.negativelyAcknowledge(after: .zero)
            }
            for delivery in deliveries { transaction.note(delivery.offset) }
        }
        try await waitUntil { inbox.next(place.partition) == 2 }
        #expect(inbox.effects == [0, 1])
        await consumer.close(within: .seconds(10))
        try await next
        await place.close()
    }

    @Test func anInboxThatCannotSayWhereAPartitionBeginsEndsTheLoop() async throws {
        let inbox = MemoryInbox(failureAtBeginning: Self.error("42P01"))
        let place = try await Place.make(1, inbox)
        let consumer = try place.consumer()
        let error = await #expect(throws: OutboxError.self) {
            try await loop(consumer, inbox, isBatch: false) { _, _ in }
        }
        #expect(error?.code == "42P01")
        #expect(inbox.calls == 0)
        await consumer.close(within: .seconds(10))
        await place.close()
    }
}
