/// How often a message is handed over when handling it fails, and how long between. A plain value: it holds no client.
///
/// ```swift
/// .exponential(initial: .seconds(1), multiplier: 2, maximum: .seconds(2), maximumAttempts: 3)   // 1 s, 2 s, give up
/// ```
public struct RetryPolicy: Sendable {
    /// What to do about a failure.
    public enum Decision: Sendable, Hashable {
        /// Hand the message over again after a while.
        case retry(after: Duration)
        /// It will not succeed: the message goes to the dead letters, or the error ends the loop.
        case giveUp
    }

    /// How many times a message is handed over in all, 1 or more; nil for as often as it takes.
    public var maximumAttempts: Int?

    /// How much a delay may vary: with 0.2 it is between 80 % and 120 % of what it would be, so that what failed together
    /// is not tried again together. 0 to 1.
    public var jitter: Double = 0

    /// Which errors are worth another attempt. A ``PermanentFailure`` never is.
    public var isWorthRetrying: @Sendable (any Error) -> Bool = { _ in true }

    /// The delay that an error asks for itself (for instance a `Retry-After`), in place of the policy's; nil where it
    /// asks for none.
    public var delayForError: @Sendable (any Error) -> Duration? = { _ in nil }

    private let initial: Duration
    private let multiplier: Double
    private let maximum: Duration

    /// One attempt.
    public static let none = RetryPolicy(
        initial: .zero,
        multiplier: 1,
        maximum: .zero,
        maximumAttempts: 1
    )

    /// The same delay each time.
    ///
    /// - Parameters:
    ///   - delay: How long to wait; less than zero counts as zero.
    ///   - maximumAttempts: How many times in all; nil for as often as it takes.
    public static func fixed(_ delay: Duration, maximumAttempts: Int?) -> RetryPolicy {
        RetryPolicy(initial: delay, multiplier: 1, maximum: delay, maximumAttempts: maximumAttempts)
    }

    /// A delay that grows by a factor each time, up to a maximum.
    ///
    /// - Parameters:
    ///   - initial: The delay after the first attempt; less than zero counts as zero.
    ///   - multiplier: What each next one is multiplied with; less than 1 counts as 1.
    ///   - maximum: The longest.
    ///   - maximumAttempts: How many times in all; nil for as often as it takes.
    public static func exponential(
        initial: Duration = .milliseconds(500),
        multiplier: Double = 2,
        maximum: Duration = .seconds(30),
        maximumAttempts: Int?
    ) -> RetryPolicy {
        RetryPolicy(
            initial: initial,
            multiplier: multiplier,
            maximum: maximum,
            maximumAttempts: maximumAttempts
        )
    }

    private init(initial: Duration, multiplier: Double, maximum: Duration, maximumAttempts: Int?) {
        self.initial = max(initial, .zero)
        self.multiplier = multiplier.isFinite ? max(multiplier, 1) : 1
        self.maximum = max(maximum, .zero)
        self.maximumAttempts = maximumAttempts
    }

    /// What to do about a failure.
    ///
    /// - Parameters:
    ///   - attempt: Which attempt failed, from 1.
    ///   - error: How.
    public func decide(attempt: Int, error: any Error) -> Decision {
        var random = SystemRandomNumberGenerator()
        return decide(attempt: attempt, error: error, using: &random)
    }

    package func decide(attempt: Int, error: any Error, using random: inout some RandomNumberGenerator) -> Decision {
        guard isWorthAnotherAttempt(error) else { return .giveUp }
        if let maximumAttempts, attempt >= maximumAttempts { return .giveUp }
        if let asked = delayForError(error) { return .retry(after: max(asked, .zero)) }
        return .retry(after: vary(delay(after: attempt), using: &random))
    }

    /// Whether trying again may help at all, whenever and wherever.
    package func isWorthAnotherAttempt(_ error: any Error) -> Bool {
        !(error is any PermanentFailure) && isWorthRetrying(error)
    }

    /// The delay after an attempt, before it is varied.
    package func delay(after attempt: Int) -> Duration {
        var delay = min(initial, maximum)
        // Multiplied step by step, and no further than the maximum, so that no power overflows.
        var steps = max(attempt, 1) - 1
        while steps > 0, multiplier > 1, delay > .zero, delay < maximum {
            guard multiplier < maximum / delay else { return maximum }
            delay = delay * multiplier
            steps -= 1
        }
        return delay
    }

    private func vary(_ delay: Duration, using random: inout some RandomNumberGenerator) -> Duration {
        guard jitter > 0, jitter <= 1 else { return delay }
        return delay * Double.random(in: (1 - jitter)...(1 + jitter), using: &random)
    }
}

/// An error that the same message causes each time, so that no ``RetryPolicy`` tries again: its bytes are not what the handler
/// takes, for instance. An error of yours may be one.
public protocol PermanentFailure: Error {}
