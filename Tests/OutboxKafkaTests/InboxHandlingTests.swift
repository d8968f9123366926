import KafkaDelivery
import OutboxDelivery
import OutboxKafka
import Testing

/// Consuming through an inbox whose database fails, or whose messages are given up.
@Suite(.timeLimit(.minutes(5)))
struct InboxHandlingTests {
    private struct Failure: Error {}

    private typealias Place = MemoryInboxFixture

    private static func error(
        _ kind: OutboxError.Kind,
        _ code: String? = nil,
        _ recovery: DeliveryRecovery = .retry
    ) -> OutboxError {
        OutboxError(kind: kind, persistence: .notPersisted, recovery: recovery, reason: "of a test", code: code)
    }

    private func waitUntil(_ condition: () async throws -> Bool) async throws {
        while try await !condition() { try await Task.sleep(for: .milliseconds(2)) }
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
    // Waited for, the loop would never end; left and gone on, the second message would move the offset past the first.
    @Test(arguments: [true, false], [true, false])
    func anInboxThatIsClosedBehindADeadLetterEndsTheLoopAndNothingIsAcknowledged(
        isBatch: Bool,
        isHandedOver: Bool
    ) async throws {
        // The first attempt reaches the handler.
        let inbox = MemoryInbox { $0 == 1 ? nil : Self.error(.closed, nil, .recreateClient) }
        let place = try await Place.make(2, size: isHandedOver ? 20_000 : 1, inbox)
        let letters = place.letters(isHandedOver ? .handOver { _, _, _ in } : .hold)
        let logger = ExactlyOnceFixture.logger
        let handled = Counter()
        let consumer = try place.consumer()
        let error = await #expect(throws: OutboxError.self) {
            if isBatch {
                try await consumer.forEachBatch(
                    inbox: inbox,
                    maximumCount: 2,
                    maximumWait: .seconds(60),
                    retry: .none,
                    deadLetters: letters,
                    logger: logger
                ) { _, _ in
                    _ = handled.next()
                    throw Failure()
                }
            } else {
                try await consumer.forEach(inbox: inbox, retry: .none, deadLetters: letters, logger: logger) { _, _ in
                    _ = handled.next()
                    throw Failure()
                }
            }
        }
        #expect(error?.kind == .closed)
        #expect(handled.value == 1 && inbox.calls == 2)
        #expect(inbox.next(place.partition) == nil)
        let summary = await consumer.close(within: .seconds(30))
        #expect(summary.unsettled == (isBatch ? 2 : 1))
        #expect(try await place.letterCount() == (isHandedOver ? 0 : 1))
        await place.close()
    }

    // MARK: Seeks

    @Test func aBatchThatWaitsWhileItsPartitionIsSoughtHasNothingFromBefore() async throws {
        let inbox = MemoryInbox()
        let place = try await Place.make(3, inbox)
        let consumer = try place.consumer()
        async let loop: Void = consumer.forEachBatch(
            inbox: inbox,
            maximumCount: 5,
            maximumWait: .seconds(60),
            retry: .none,
            deadLetters: place.letters(),
            logger: ExactlyOnceFixture.logger
        ) { deliveries, transaction in
            for delivery in deliveries { transaction.note(delivery.offset) }
        }
        // All three are in the batch, or on their way into it, and with the two that come again it is full.
        let partition = KafkaTopicPartition(topic: "orders", partition: 0)
        try await waitUntil { consumer.position(of: partition) == 3 }
        try await consumer.seek(partition, to: .offset(1))
        try await waitUntil { inbox.next(place.partition) == 3 }
        #expect(inbox.effects == [1, 2])
        let summary = await consumer.close(within: .seconds(30))
        try await loop
        #expect(summary.unsettled == 0)
        #expect(try await place.letterCount() == 0)
        await place.close()
    }
}
