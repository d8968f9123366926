internal import Synchronization

/// The thread that sends at once what lingers, while a task waits for it: at most one for a producer.
///
/// `rd_kafka_flush` waits until nothing is in flight, which on a busy producer may be never; so the thread calls it a little at a time, and
/// ends with the first after which no task waits.
final class LingerFlush: Sendable {
    /// How long one call takes at most.
    private static let slice = Duration.milliseconds(50)

    // Whether there is a thread. Tasks that begin to wait and the thread meet here; before the wait queue's lock.
    private let isRunning = Mutex(false)

    /// Starts the thread where there is none. Where the system has none either, what lingers is sent when its time has come.
    ///
    /// - Parameters:
    ///   - isAwaited: Whether a task still waits.
    ///   - flush: Waits for so long at most; whether nothing is in flight.
    func begin(
        while isAwaited: @escaping @Sendable () -> Bool,
        flush: @escaping @Sendable (Duration) -> Bool
    ) {
        let isFirst = isRunning.withLock { isRunning in
            defer { isRunning = true }
            return !isRunning
        }
        guard isFirst else { return }
        let isStarted = BlockingThread.start("kafka-flush") { [self] in
            while goesOn(isAwaited) {
                // All is sent, and nothing signals this thread when the producer's thread has told the waiting task: that would be one
                // more wake-up for each flush, to save a few looks where a task computes on that thread.
                if flush(Self.slice) { RdKafkaClient.pause(milliseconds: 1) }
            }
        }
        if !isStarted { isRunning.withLock { $0 = false } }
    }

    /// Whether a task still waits. One that comes after this has found that none does starts a thread.
    private func goesOn(_ isAwaited: () -> Bool) -> Bool {
        isRunning.withLock { isRunning in
            isRunning = isAwaited()
            return isRunning
        }
    }
}
