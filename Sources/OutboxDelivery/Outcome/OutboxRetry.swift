/// How often an event is tried again that its destination refused, and what becomes of it then.
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

    /// What becomes of it after the last.
    public var givingUp: Giving = .parkKey

    /// Three attempts, 100 ms and 200 ms apart; then its key is parked.
    public init() {}
}
