internal import DeliveryCore
internal import KafkaDelivery
internal import Logging
internal import OutboxDelivery
internal import Synchronization

/// Waits for a database that is away: what fails because of it says nothing about the message. One for each loop.
struct PatientInbox {
    private static let policy = RetryPolicy.exponential(
        initial: .milliseconds(50),
        maximum: .seconds(10),
        maximumAttempts: nil
    )

    /// How long at most nothing looks whether the deliveries are still to be handled.
    private static let step = Duration.milliseconds(500)

    /// Tells a handler's errors from those of the transaction around it.
    final class Handling: Sendable {
        enum Stage: UInt8, AtomicRepresentable {
            /// The inbox's own statements run.
            case before
            /// The handler has thrown.
            case failed
            /// The handler has returned, and the transaction is committed.
            case returned
        }

        // The attempt's task and the connection that runs the handler.
        private let state = Atomic(Stage.before)

        var stage: Stage { state.load(ordering: .acquiring) }

        func run(_ deliveries: [KafkaConsumer.Delivery], _ handler: () throws -> Void) throws {
            do {
                try handler()
                try Self.check(deliveries)
            } catch {
                state.store(.failed, ordering: .releasing)
                throw error
            }
            state.store(.returned, ordering: .releasing)
        }

        func run(_ deliveries: [KafkaConsumer.Delivery], _ handler: () async throws -> Void) async throws {
            do {
                try await handler()
                try Self.check(deliveries)
            } catch {
                state.store(.failed, ordering: .releasing)
                throw error
            }
            state.store(.returned, ordering: .releasing)
        }

        /// Where the handler has said that a delivery comes again, nothing of its transaction may stay: what comes again would find the
        /// offset moved.
        private static func check(_ deliveries: [KafkaConsumer.Delivery]) throws {
            guard deliveries.contains(where: \.isRejected) else { return }
            for delivery in deliveries where delivery.settlement == nil {
                _ = delivery.postpone(for: .zero, holdingOthers: true)
            }
            throw HandlingStop.leave
        }
    }

    let logger: Logger
    private let inHand = DeliveriesInHand()

    init(logger: Logger) {
        self.logger = logger
    }

    /// Runs the loop. What it leaves without a verdict when it ends is handed back: the consumer's next loop begins with it. It would
    /// begin behind it, and the stored offset would pass over it.
    ///
    /// - Throws: What the loop throws; the inbox's error where that is what a partition failed with.
    func run(_ loop: () async throws -> Void) async throws {
        defer { inHand.handBack() }
        do {
            try await loop()
        } catch let error as KafkaError {
            throw error.underlyingError as? OutboxError ?? error
        }
    }

    /// Calls `body` until the database answers, or the task is cancelled, or the deliveries are to be left unsettled, as when the
    /// consumer closes.
    ///
    /// - Throws: What `body` says of the message; ``HandlingStop``.
    func receive(_ deliveries: [KafkaConsumer.Delivery], _ body: (Handling) async throws -> Void) async throws {
        inHand.take(deliveries)
        do {
            try await receivePatiently(deliveries, body)
            inHand.letGo(of: deliveries)
        } catch {
            // Not longer: a revocation waits for what is held.
            if !deliveries.contains(where: \.isCurrent) { inHand.letGo(of: deliveries) }
            throw Self.end(error, of: deliveries)
        }
    }

    /// What an attempt ends with whose transaction was rolled back. What the handler has acknowledged loses its effect, and no later
    /// message may take the offset past it: the loop ends, and nothing more of the partition is handed out before it is read anew, from
    /// where the inbox says.
    private static func end(_ error: any Error, of deliveries: [KafkaConsumer.Delivery]) -> any Error {
        guard let settled = deliveries.first(where: { $0.settlement == .settled && $0.isCurrent }) else { return error }
        let cause = OutboxError.invalidMessage(
            "\(settled) was acknowledged by the handler of an inbox, and its transaction failed (\(error)): its effect is undone. "
                + "Acknowledge nothing in the handler, the inbox does when the transaction is committed"
        )
        settled.failPartition(
            KafkaError(.client, recovery: .fixRequest, reason: cause.reason, underlyingError: cause)
        )
        return HandlingStop.endLoop(cause)
    }

    private func receivePatiently(
        _ deliveries: [KafkaConsumer.Delivery],
        _ body: (Handling) async throws -> Void
    ) async throws {
        var failures = 0
        var isDoubted = false
        while true {
            let handling = Handling()
            do {
                return try await body(handling)
            } catch let error as OutboxError {
                switch Self.meaning(of: error, handling.stage) {
                case .messageFails: throw error
                case .inboxIsUnusable: throw HandlingStop.endLoop(error)
                case .doubtful:
                    if isDoubted { throw error }
                    isDoubted = true
                case .databaseIsAway: isDoubted = false
                }
                failures += 1
                try await wait(after: failures, error, deliveries)
            }
        }
    }

    /// Dead letters that move the stored offset past their message once they are stored: otherwise the partition would begin at it
    /// again, all its attempts would be made again, and another letter. Where it cannot be moved, because the consumer closes
    /// meanwhile or the inbox was closed, the message is left unsettled, and there is one more letter. What is behind it is not to be
    /// handled: that would move the offset past both.
    func letters(
        _ letters: KafkaDeadLetters?,
        _ move: @escaping @Sendable (InboxMessage) async throws -> Void
    ) -> KafkaDeadLetters? {
        var letters = letters
        let patient = self
        letters?.beforeSettling = { delivery in
            var message = delivery.inboxMessage
            // It has had no effect: redriven, it is new.
            message.idempotencyKey = nil
            var failures = 0
            while true {
                do {
                    return try await move(message)
                } catch let error as OutboxError where error.recovery == .recreateClient {
                    // It was closed: the same call fails for as long as it is made.
                    throw HandlingStop.endLoop(error)
                } catch {
                    // Whatever else it is: no message is to blame, the letter is stored, and a person may mend it meanwhile.
                    failures += 1
                    try await patient.wait(after: failures, error, [delivery])
                }
            }
        }
        return letters
    }

    /// Waits before the next attempt.
    ///
    /// - Throws: ``HandlingStop`` where deliveries are not to be handled any longer; `CancellationError`.
    private func wait(
        after failures: Int,
        _ error: any Error,
        _ deliveries: [KafkaConsumer.Delivery]
    ) async throws {
        try Task.checkCancellation()
        var delay = Self.policy.delay(after: failures)
        logger.warning(
            "The inbox's database is waited for",
            metadata: [
                "kafka_delivery": "\(deliveries.first?.description ?? "")", "outbox_error": "\(error)",
                "outbox_delay": "\(delay)",
            ]
        )
        // Time is what is waited for: a database that is away does not say when it is back. In steps, because neither a consumer that
        // closes nor a partition that goes to another member cancels the task.
        while true {
            guard deliveries.isEmpty || deliveries.contains(where: \.isCurrent) else { throw HandlingStop.leave }
            guard delay > .zero else { return }
            let step = min(delay, Self.step)
            try await Task.sleep(for: step)
            delay -= step
        }
    }
}

// MARK: What an error says

extension PatientInbox {
    /// What the error of an attempt says, and so what becomes of the message.
    enum Meaning {
        /// Nothing about the message, and the same again may come to something else: waited for.
        case databaseIsAway
        /// Either that, or that the handler takes too long: waited for once, and then it is the message's failure.
        case doubtful
        /// The message's failure: the retry policy decides.
        case messageFails
        /// That no message can be handled until a person has changed something.
        case inboxIsUnusable
    }

    static func meaning(of error: OutboxError, _ stage: Handling.Stage) -> Meaning {
        if error.kind == .cancelled { return .messageFails }
        // PostgreSQL's (appendix A) have five characters, SQLite's are numbers with fewer.
        let state = error.code.flatMap { $0.utf8.count == 5 ? $0 : nil } ?? ""
        switch (state, stage) {
        // in_failed_sql_transaction: the handler has swallowed the error of a statement, and the commit was a rollback.
        case ("25P02", _): return .messageFails
        // idle_in_transaction_session_timeout: the handler stands still between two statements, or the process was stopped. And
        // transaction_timeout, of PostgreSQL 17: either that, or it takes too long.
        case ("25P03", .failed), ("25P03", .returned), ("25P04", .failed), ("25P04", .returned): return .doubtful
        case ("25P03", .before), ("25P04", .before): return .databaseIsAway
        // query_canceled: statement_timeout. Of a statement of the inbox's own it says that another member holds the partition's row.
        case ("57014", .failed), ("57014", .returned): return .messageFails
        // read_only_sql_transaction: the server is a standby, or was made one.
        case ("25006", .before): return .databaseIsAway
        default: break
        }
        let conditions = state.prefix(2)
        guard error.recovery == .retry else {
            // The inbox's own statements have nothing of the message but its place and its key.
            let isTheMessages = error.kind == .invalidMessage || ["22", "23", "54"].contains(conditions)
            return stage == .before && !isTheMessages ? .inboxIsUnusable : .messageFails
        }
        switch error.kind {
        case .unavailable: return .databaseIsAway
        // The client's own: the server says nothing, or the handler's statement takes longer than the client waits.
        case .timedOut: return stage == .failed ? .doubtful : .databaseIsAway
        // Conflicts with other transactions, locks that others hold, and resources.
        case .database where ["40", "53", "55"].contains(conditions): return .databaseIsAway
        default: return stage == .failed ? .messageFails : .databaseIsAway
        }
    }
}
