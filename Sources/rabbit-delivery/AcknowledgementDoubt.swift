import ToolSupport

/// Whether messages that were written may come again, for the broker may not have their acknowledgements.
struct AcknowledgementDoubt {
    /// How many messages were acknowledged.
    let acknowledged: Int
    /// How many of them were written and acknowledged when their channel was gone.
    let late: Int
    /// Whether the broker has said that it has the others.
    let reachedBroker: Bool

    /// For a person; nil where there is no doubt.
    var sentence: String? {
        if late > 0 {
            return "\(count(late, "message")) could not be acknowledged in time: written, and to be delivered again"
        }
        if reachedBroker || acknowledged == 0 { return nil }
        return "the broker has not said that it has all acknowledgements: messages that were written may come again"
    }
}
