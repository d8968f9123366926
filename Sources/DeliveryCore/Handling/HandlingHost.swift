/// The client whose deliveries ``FailureHandling`` handles: where messages wait that failed, where their dead letters go, and
/// who is told.
///
/// The verdicts are not its business. A copy is published once for each call; ``FailureHandling`` settles the original when the
/// copy is confirmed, and otherwise asks again later.
@usableFromInline
package protocol HandlingHost: Sendable {
    associatedtype Delivery: SettleableDelivery
    /// Where a message was received from first.
    associatedtype Origin: Sendable
    /// Where messages wait for their next attempt, and how long.
    associatedtype RetryRoute: Sendable
    /// Where a copy is stored.
    associatedtype Receipt: Sendable
    /// What is published of a message that is given up.
    associatedtype Letter: Sendable
    /// Why a copy is not stored.
    associatedtype Failure: DeliveryError

    typealias Record = FailureRecord<Origin>
    typealias Copy = PendingCopy<Origin, RetryRoute>

    /// Whether a delivery is not due yet. Where it is not, it was postponed.
    func holdsBack(_ delivery: Delivery) -> Bool

    /// Why a delivery is given up without its handler: it is known to end processes, for instance. Nil for all others.
    func failureBeforeHandling(_ delivery: Delivery) -> (any Error)?

    /// What is known of a delivery that failed.
    func record(_ error: any Error, of delivery: Delivery) -> Record

    /// Where a message waits next that the policy has given up where it is; nil where it has waited everywhere.
    func retryRoute(after record: Record) -> RetryRoute?

    /// Whether messages that are given up have somewhere to go.
    var hasDeadLetters: Bool { get }

    /// Publishes a copy of a message to where it waits for its next attempt, and waits for the confirmation.
    func publish(_ record: Record, of delivery: Delivery, to route: RetryRoute) async
        -> CopyOutcome<Receipt, Letter, Failure>

    /// Publishes the dead letter of a message, and waits for the confirmation.
    ///
    /// - Throws: What ends the loop, although the letter may be stored; the message is left unsettled.
    func publishDeadLetter(_ record: Record, of delivery: Delivery) async throws
        -> CopyOutcome<Receipt, Letter, Failure>

    /// Whether the application stores dead letters that can never be published.
    var handsOverRefusedLetters: Bool { get }

    /// Has the application store a dead letter that can never be published.
    ///
    /// - Throws: Why it is not stored; ``HandlingStop``.
    func handOver(_ letter: Letter, of delivery: Delivery, _ error: Failure) async throws

    /// Something happened that the application may want to know.
    func note(_ note: HandlingNote<Self>, of delivery: Delivery)

    /// Runs handlers, one after the other, in the calling task. Called once for many messages.
    func runningHandlers(_ body: () async throws -> Void) async rethrows

    /// Changes whenever deliveries that back off may not come again: a partition was revoked, or sought elsewhere.
    func laneEpoch(_ delivery: Delivery) -> LaneEpoch
}

/// What publishing a copy came to.
@usableFromInline
package enum CopyOutcome<Receipt: Sendable, Letter: Sendable, Failure: DeliveryError>: Sendable {
    case stored(Receipt)
    /// It is not confirmed, and may be later; or the client is done, and another one may take it.
    case failed(Failure)
    /// It can never be stored, with all left out that can be.
    case refused(Failure, Letter)
    /// The task was cancelled, or what handed the message out is gone: it is left unsettled.
    case cancelled
}

/// What a ``HandlingHost`` is told.
@usableFromInline
package enum HandlingNote<Host: HandlingHost> {
    /// It is handed over again after a while, as which attempt.
    case redelivery(attempt: Int, after: Duration)
    /// It waits elsewhere for its next attempt, and is settled here.
    case storedForRetry(Host.Record, Host.Receipt)
    /// Its copy could not be stored where it is to wait; that is tried again.
    case retryCopyFailed(Host.Failure)
    /// Its copy can never be stored where it is to wait; it is given up.
    case retryCopyRefused(Host.Failure, Host.RetryRoute)
    /// Its dead letter is stored, and it is settled.
    case deadLettered(Host.Record, Host.Receipt)
    /// Its dead letter could not be stored; that is tried again.
    case deadLetterFailed(Host.Failure)
    /// Its dead letter can never be stored. Said once.
    case deadLetterRefused(Host.Failure, Host.Letter)
    /// Its dead letter can never be stored, and the application did not take it.
    case handOverFailed(Host.Failure, any Error)
    /// Its dead letter can never be stored, and the application has taken it.
    case handedOver
    /// The client that is to publish its copy is done: it stays unsettled until a loop has another client. Said once.
    case clientDone(Host.Copy, Host.Failure)
    /// Its copy is published again after a while.
    case copyPostponed(Host.Copy, any Error, after: Duration)
}
