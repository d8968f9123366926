extension Destination {
    /// Tells another system what a transaction has changed, after the commit, with a few attempts: the simplest form that is right,
    /// where losing the message now and then is bearable.
    ///
    /// ```swift
    /// try await database.write { … }                          // committed
    /// try? await orders.sendAfterCommit(message)              // 3 attempts, 100 ms apart
    /// ```
    ///
    /// **What is lost.** A process that dies between the commit and the confirmation — a crash, a deployment, a power cut — loses the
    /// message for good: nothing remembers that there was one. So does a destination that is away for longer than the attempts
    /// take; the error says so, but the change is committed. Where the message has to arrive, store it in an outbox, in the
    /// same transaction.
    ///
    /// **What is repeated.** An attempt whose outcome is unknown (`possiblyPersisted`) is followed by another: the message may
    /// arrive twice. Give it something by which a receiver can tell; an HTTP message has its idempotency key.
    ///
    /// **Why not inside the transaction.** A call inside it tells of a change that may never be: the transaction can still be
    /// rolled back, at the commit, too. It holds the transaction's locks for as long as the other system takes. And it makes a
    /// service that could go on without the other system fail with it.
    ///
    /// An error whose `recovery` is not `retry` is thrown at once, and so is one whose `retryAfter` is longer than `maximumPause`: a task that
    /// waits for a transaction's answer should not wait for that, too. Cancelling the task ends the pauses, and what the
    /// destination lets be cancelled.
    ///
    /// - Parameters:
    ///   - message: What is sent, unchanged with each attempt.
    ///   - attempts: How often at most, 1 or more; fewer count as 1.
    ///   - pause: How long after one has failed the next begins; longer where the error's `retryAfter` is.
    ///   - maximumPause: The longest `retryAfter` that is waited for.
    ///   - clock: What measures the pauses; a test's own.
    /// - Returns: Where the message is stored.
    /// - Throws: The last attempt's error.
    @discardableResult
    public func sendAfterCommit(
        _ message: Message,
        attempts: Int = 3,
        pause: Duration = .milliseconds(100),
        maximumPause: Duration = .seconds(1),
        clock: any Clock<Duration> = ContinuousClock()
    ) async throws(Failure) -> Receipt {
        var attempt = 1
        while true {
            do {
                return try await send(message)
            } catch {
                let wait = max(pause, error.retryAfter ?? .zero).asWait
                let isWorthIt = error.recovery == .retry && attempt < attempts && wait <= max(pause, maximumPause)
                guard isWorthIt, !Task.isCancelled else { throw error }
                // Time is what is waited for: a destination that is away does not say when it is back.
                do { try await clock.sleep(for: wait) } catch _ { throw error }
                attempt += 1
            }
        }
    }
}
