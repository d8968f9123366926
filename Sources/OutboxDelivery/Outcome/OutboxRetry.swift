/// How often an event is tried again that its destination refused, and what becomes of it then.
///
/// | outcome | tried again | then |
/// |---|---|---|
/// | ``OutboxOutcome/rejected(reason:isRetriable:retryAfter:)``, retriable | ``maximumAttempts`` in all | parked |
/// | the same, not retriable | never | parked |
/// | ``OutboxOutcome/unroutable(reason:)`` | for ``unroutablePatience``, and as often as ``maximumAttempts`` at least | parked |
/// | ``OutboxOutcome/unknown(reason:)``, ``OutboxOutcome/unavailable(reason:retryAfter:)`` | for ever | |
public struct OutboxRetry: Sendable, Hashable {
    /// What becomes of an event that was refused for the last time.
    public enum Giving: String, Sendable, Hashable {
        /// The event and all that follow with its key wait among the parked, in order, until a person decides. The default.
        case parkKey
        /// The event alone is parked; its followers go on, and so overtake it.
        case skip
    }

    /// How many attempts an event gets in all, 1 or more.
    public var maximumAttempts: Int = 3

    /// How long its key waits after the first refusal; twice as long after each further one.
    public var delay: Duration = .milliseconds(100)

    /// The longest wait between two attempts, also where the destination asks for more (`Retry-After`).
    public var maximumDelay: Duration = .seconds(30)

    /// For how long an event is tried again whose place is not there, from the first time that this publisher finds it so; zero for no
    /// longer than ``maximumAttempts`` take. A topic is made, a right granted, a service deployed some minutes after the events for it
    /// were written: to park the first event of each key for that would leave them all to a person. Its key waits meanwhile.
    public var unroutablePatience: Duration = .seconds(300)

    /// What becomes of it after the last.
    public var givingUp: Giving = .parkKey

    /// Three attempts, 100 ms and 200 ms apart, or five minutes where there is no such place; then its key is parked.
    public init() {}
}
