internal import Synchronization

/// What whoever reads reports needs, and its lock.
struct SharedServing: ~Copyable, Sendable {
    // The producer's thread and senders meet here. Outcomes are handed out, and log lines written, while it is held.
    private let serving: Mutex<ProducerCore.Serving>
    // Written by whoever holds the lock.
    private let isHeld = Atomic(false)

    init(_ serving: sending ProducerCore.Serving) {
        self.serving = Mutex(serving)
    }

    func withLock<Result>(_ body: (inout ProducerCore.Serving) -> sending Result) -> sending Result {
        serving.withLock { serving in
            isHeld.store(true, ordering: .relaxed)
            defer { isHeld.store(false, ordering: .relaxed) }
            return body(&serving)
        }
    }

    /// The same where nobody holds it; nil otherwise. Also whoever holds it may ask, as a log handler may that sends what it
    /// is given: trying the lock itself would end the process there, on Linux before Swift 6.3.
    func withLockIfFree<Result>(_ body: (inout ProducerCore.Serving) -> sending Result) -> sending Result? {
        if isHeld.load(ordering: .relaxed) { return nil }
        return serving.withLockIfAvailable { serving in
            isHeld.store(true, ordering: .relaxed)
            defer { isHeld.store(false, ordering: .relaxed) }
            return body(&serving)
        }
    }
}
