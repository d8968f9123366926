internal import DeliveryCore
internal import DequeModule
internal import Synchronization

/// Runs tasks on the producer's thread, in turns with its reading of reports, for as long as it has that thread; afterwards
/// on Swift's pool, so that a task that outlives the producer goes on.
final class ProducerExecutor: TaskExecutor {
    private struct State {
        var jobs: Deque<UnownedJob> = []
        /// Where the thread sleeps; nil when it has ended.
        var queue: ReportQueue?
    }

    // Any thread enqueues a job, and the producer's thread takes it.
    private let state: Mutex<State>
    /// Whether there is nothing behind the lock; stored under it.
    private let isEmpty = Atomic(true)
    /// The producer's thread, as the system names it; 0 where there is none.
    private let thread = Atomic<UInt>(0)
    // Jobs that the producer's thread itself enqueued, which are most of them, as it is there that tasks are resumed. Unsafe without
    // a lock because that thread alone touches it: `enqueue` where `isCurrent`, which compares threads, and what the thread runs.
    nonisolated(unsafe) private var own: Deque<UnownedJob> = []

    init(_ queue: ReportQueue) {
        self.state = Mutex(State(queue: queue))
    }

    /// Whether the calling thread is the producer's.
    var isCurrent: Bool {
        thread.load(ordering: .relaxed) == BlockingThread.current
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if isCurrent {
            own.append(job)
            return
        }
        let (isTaken, sleeper): (Bool, ReportQueue?) = state.withLock { state in
            guard let queue = state.queue else { return (false, nil) }
            state.jobs.append(job)
            isEmpty.store(false, ordering: .releasing)
            return (true, state.jobs.count == 1 ? queue : nil)
        }
        if isTaken { sleeper?.interrupt() } else { Self.handOver(job) }
    }

    private static func handOver(_ job: UnownedJob) {
        globalConcurrentExecutor.enqueue(ExecutorJob(job))
    }
}

// MARK: For the thread

extension ProducerExecutor {
    /// From now on the calling thread is the producer's.
    func begin() {
        thread.store(BlockingThread.current, ordering: .relaxed)
    }

    /// Whether the thread has something to do here. Another thread that changes that interrupts it.
    var hasJobs: Bool {
        !own.isEmpty || !isEmpty.load(ordering: .acquiring)
    }

    /// Runs what is there at this moment. What those jobs enqueue has its turn after the next look at reports.
    func runJobs() {
        takeOver()
        for _ in 0..<own.count {
            own.removeFirst().runSynchronously(on: asUnownedTaskExecutor())
        }
    }

    private func takeOver() {
        guard !isEmpty.load(ordering: .acquiring) else { return }
        let jobs = state.withLock { state in
            isEmpty.store(true, ordering: .relaxed)
            defer { state.jobs = [] }
            return state.jobs
        }
        own.append(contentsOf: jobs)
    }

    /// From now on there is no such thread.
    func end() {
        // A later thread of the system may get the same name.
        thread.store(0, ordering: .relaxed)
        state.withLock { $0.queue = nil }
        // Nothing is added any more.
        takeOver()
        for job in own { Self.handOver(job) }
        own = []
    }
}
