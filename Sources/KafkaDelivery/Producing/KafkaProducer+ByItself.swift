/// Sending again what was refused together with others.
extension KafkaProducer {
    /// Sends a message, and where it is refused with the batch that it travelled in, again until it has an answer of its own.
    ///
    /// One that is awaited before the next is sent travels by itself, but for what other tasks send to the same partition at the
    /// same time. Where one of those is at fault it is refused once more, so there are more attempts, at growing intervals that
    /// differ from task to task.
    ///
    /// - Returns: Where the message is stored: after what was sent to its partition meanwhile.
    /// - Throws: As ``send(_:)``; `batchRefused` only where it had no answer of its own within ``Configuration/messageTimeout``.
    package func sendByItself(_ message: KafkaMessage) async throws(KafkaError) -> KafkaDeliveryReport {
        let deadline = ContinuousClock.now.advanced(by: core.messageTimeout)
        var delay = Duration.milliseconds(2)
        while true {
            do throws(KafkaError) {
                return try await send(message)
            } catch {
                guard error.kind == .batchRefused, .now < deadline else { throw error }
                // Time is what is waited for: nothing says when the others' messages are through.
                let pause = delay * Double.random(in: 0.5...1.5)
                guard (try? await Task.sleep(for: pause)) != nil else { throw .cancelled(persistence: .notPersisted) }
                delay = min(delay * 2, .seconds(1))
            }
        }
    }

    /// The report of a message that was enqueued before; where it was refused with its batch, that of the message sent again.
    package func report(
        of pending: PendingDelivery,
        _ message: KafkaMessage
    ) async throws(KafkaError) -> KafkaDeliveryReport {
        do throws(KafkaError) {
            return try await pending.report
        } catch {
            guard error.kind == .batchRefused else { throw error }
            return try await sendByItself(message)
        }
    }
}
