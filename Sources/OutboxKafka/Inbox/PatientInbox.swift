internal import DeliveryCore
internal import KafkaDelivery
internal import Logging
internal import OutboxDelivery
internal import Synchronization

/// Waits for a database that is away: what fails because of it says nothing about the message.
struct PatientInbox {
    private static let policy = RetryPolicy.exponential(
        initial: .milliseconds(50),
        maximum: .seconds(10),
        maximumAttempts: nil
    )

    /// Tells a handler's errors from those of the transaction around it.
    final class Handling: Sendable {
        // The attempt's task and the connection that runs the handler.
        private let hasFailed = Atomic(false)

        var isFailure: Bool { hasFailed.load(ordering: .acquiring) }

        func run(_ handler: () throws -> Void) throws {
            do {
                try handler()
            } catch {
                hasFailed.store(true, ordering: .releasing)
                throw error
            }
        }

        func run(_ handler: () async throws -> Void) async throws {
            do {
                try await handler()
            } catch {
                hasFailed.store(true, ordering: .releasing)
                throw error
            }
        }
    }

    let logger: Logger

    /// Calls `body` until the database answers, or the task is cancelled, as when the consumer closes.
    func receive(_ delivery: KafkaConsumer.Delivery?, _ body: (Handling) async throws -> Void) async throws {
        var failures = 0
        while true {
            let handling = Handling()
            do {
                return try await body(handling)
            } catch let error as OutboxError where Self.isTheDatabases(error, inHandler: handling.isFailure) {
                failures += 1
                let delay = Self.policy.delay(after: failures)
                logger.warning(
                    "The inbox's database is waited for",
                    metadata: [
                        "kafka_delivery": "\(delivery?.description ?? "")", "outbox_error": "\(error)",
                        "outbox_delay": "\(delay)",
                    ]
                )
                // Time is what is waited for: a database that is away does not say when it is back.
                try await Task.sleep(for: delay)
            }
        }
    }

    /// Dead letters that move the stored offset past their message once they are stored: otherwise the partition would begin at it
    /// again, all its attempts would be made again, and another letter.
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
            let moved = message
            // Where it cannot be moved, because the consumer closes meanwhile, there is one more letter.
            _ = try? await patient.receive(delivery) { _ in try await move(moved) }
        }
        return letters
    }

    /// Whether an error says nothing about the message, so that the same again may come to something else.
    ///
    /// - Parameter inHandler: Whether the handler threw it. Then a statement that was ended because it was too long, or that found its
    ///   transaction failed, is the handler's doing, and would be the same for ever.
    static func isTheDatabases(_ error: OutboxError, inHandler: Bool) -> Bool {
        guard error.kind != .cancelled else { return false }
        switch error.code {
        // in_failed_sql_transaction: the handler has swallowed the error of a statement, and the commit was a rollback.
        // idle_in_transaction_session_timeout: it has stood still. (PostgreSQL, appendix A.)
        case "25P02", "25P03": return false
        // query_canceled: statement_timeout. Of a statement of the inbox's own it says that another member holds the partition's row.
        case "57014": return !inHandler
        default: break
        }
        guard error.recovery == .retry else { return false }
        switch error.kind {
        case .unavailable, .timedOut: return true
        // Conflicts with other transactions, locks that others hold, and resources.
        case .database: return !inHandler || ["40", "53", "55"].contains(error.code?.prefix(2) ?? "")
        default: return !inHandler
        }
    }
}
