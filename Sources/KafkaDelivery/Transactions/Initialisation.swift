internal import Synchronization

/// The call that initialises a client, and what ends it where no task waits for it any longer.
///
/// Initialising fences every client with the same transactional id that was initialised before. So one that no task waits
/// for must not go on in the background: it would fence its own successor. Librdkafka goes on by itself until the client
/// is destroyed, which is therefore waited for before the successor is made (``RdKafkaClient/end``).
final class Initialisation: Sendable {
    /// How long librdkafka is left alone with the call. It goes on in the background when that is over, and the same call
    /// again resumes it.
    private static let slice = Duration.milliseconds(100)

    // The thread that calls and the task that stops waiting for it.
    private let isAbandoned = Atomic(false)

    /// Blocks until the client is initialised, cannot be, or no task waits any longer.
    func run(_ client: RdKafkaClient, until deadline: ContinuousClock.Instant) -> RdKafkaClient.TransactionFailure? {
        while !isAbandoned.load(ordering: .sequentiallyConsistent) {
            guard let failure = client.initTransactions(within: min(deadline.remaining, Self.slice)) else { return nil }
            guard failure.remedy == .repeatCall, deadline.remaining > .zero else { return failure }
            if failure.error.kind != .timedOut { RdKafkaClient.pause() }
        }
        return RdKafkaClient.TransactionFailure(error: .cancelled(persistence: .notPersisted), remedy: .none)
    }

    /// No task waits any longer.
    func abandon() {
        isAbandoned.store(true, ordering: .sequentiallyConsistent)
    }
}
