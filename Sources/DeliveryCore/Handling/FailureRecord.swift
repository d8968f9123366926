/// What is known of a message that failed.
@usableFromInline
package struct FailureRecord<Origin: Sendable>: Sendable {
    /// Why.
    @usableFromInline
    package let error: any Error
    /// How many times it was handed over, wherever it waited in between.
    @usableFromInline
    package let attempts: Int
    /// Where it was received from first.
    @usableFromInline
    package let origin: Origin

    @usableFromInline
    package init(_ error: any Error, attempts: Int, origin: Origin) {
        self.error = error
        self.attempts = attempts
        self.origin = origin
    }
}

/// A message that was given up, or is to wait elsewhere for its next attempt, and whose copy is to be published there. A value
/// without threads.
@usableFromInline
package struct PendingCopy<Origin: Sendable, RetryRoute: Sendable>: Sendable {
    @usableFromInline
    package enum Destination: Sendable {
        /// Where messages wait for their next attempt.
        case retry(RetryRoute)
        case deadLetters
    }

    @usableFromInline
    package let record: FailureRecord<Origin>
    @usableFromInline
    package var destination: Destination
    /// How many times in a row it could not be published.
    @usableFromInline
    package private(set) var failures = 0
    /// Whether it was said that its dead letter can never be stored. Once is enough.
    @usableFromInline
    package var isCalledUnstorable = false
    /// Whether it was said that the client which is to publish it is done.
    @usableFromInline
    package var isClientCalledDone = false

    private static var backoff: RetryPolicy {
        .exponential(initial: .milliseconds(200), maximum: .seconds(10), maximumAttempts: nil)
    }

    @usableFromInline
    package init(_ record: FailureRecord<Origin>, to destination: Destination) {
        self.record = record
        self.destination = destination
    }

    /// It could not be published.
    ///
    /// - Returns: How long to wait before that is tried again. A broker that refuses gives no sign when it will not any more,
    ///   and a limit may be raised at any time.
    @usableFromInline
    package mutating func noteFailure() -> Duration {
        failures += 1
        return Self.backoff.delay(after: failures)
    }
}
