/// Numbers the deliveries of one source, in the order in which they were handed out.
@usableFromInline
package typealias DeliverySequence = UInt64

/// What hands deliveries out, and may end before their verdicts: a partition in a generation, a channel of a connection.
@usableFromInline
package protocol DeliverySource: AnyObject, Sendable {
    /// Whether a verdict on what was handed out under a number counts, and so it may be handed out again.
    func isCurrent(_ sequence: DeliverySequence) -> Bool
}

/// One attempt to hand a message to the application, which takes one verdict: what handling needs to know of it.
@usableFromInline
package protocol SettleableDelivery: Sendable {
    /// What tells apart the messages that keep their order among each other.
    associatedtype OrderKey: Hashable & Sendable

    /// What handed it out.
    var deliverySource: any DeliverySource { get }

    /// Its number there. The next attempt at the same message has the same.
    var deliverySequence: DeliverySequence { get }

    /// How many times the message was handed over, this time included.
    var attempt: Int { get }

    /// Whether a verdict on it still counts, and its handler may begin.
    var isCurrent: Bool { get }

    /// Whether a verdict on it still counts, also where nothing more is begun with because the client closes.
    var takesVerdict: Bool { get }

    /// Which key's order it belongs to; nil where it is independent of all others.
    var orderKey: OrderKey? { get }

    /// What the verdict that was given came to; nil where there is none yet. One that it comes again is `left` where that came too late.
    var settlement: HandlingOutcome? { get }

    /// Whether it is part of a transaction, whose end is its verdict.
    var isPartOfTransaction: Bool { get }

    /// The message is finished.
    func acknowledge()

    /// The message is to be handed over again, after a while, as one more attempt.
    ///
    /// - Parameter holdsOthers: Whether what follows in its source waits for it.
    func negativelyAcknowledge(_ error: any Error, after delay: Duration, holdingOthers holdsOthers: Bool)

    /// The message is to be handed over again, after a while, without this having been an attempt.
    func postpone(for delay: Duration, holdingOthers holdsOthers: Bool) -> VerdictEffect
}

extension SettleableDelivery {
    @usableFromInline
    package var takesVerdict: Bool { isCurrent }

    @usableFromInline
    package var isPartOfTransaction: Bool { false }
}

/// What a verdict changed.
@usableFromInline
package enum VerdictEffect: Sendable {
    case settled
    /// The same was said before.
    case repeated
    /// Something else was said before, which counts.
    case contradicted
    /// What handed the message out is gone, or goes on elsewhere since.
    case ended
}

/// What came of handling a delivery.
@usableFromInline
package enum HandlingOutcome: Sendable {
    /// Finished: handled, or stored elsewhere.
    case settled
    /// It is handed over again.
    case backsOff
    /// Left unsettled: the task was cancelled, or what handed it out is gone.
    case left
}
