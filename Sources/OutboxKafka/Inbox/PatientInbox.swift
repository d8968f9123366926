internal import DeliveryCore
internal import KafkaDelivery
internal import Logging
internal import OutboxDelivery

/// Waits for a database that is away: what fails because of it says nothing about the message.
struct PatientInbox {
    private static let policy = RetryPolicy.exponential(
        initial: .milliseconds(50),
        maximum: .seconds(10),
        maximumAttempts: nil
    )

    let logger: Logger

    /// Calls `body` until the database answers, or the task is cancelled, as when the consumer closes.
    func receive(_ delivery: KafkaConsumer.Delivery?, _ body: () async throws -> Void) async throws {
        var failures = 0
        while true {
            do {
                return try await body()
            } catch let error as OutboxError where error.recovery == .retry && error.kind != .cancelled {
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
}
