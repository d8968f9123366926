internal import Synchronization

/// Where a message's outcome is put, and where it is awaited: a pointer to the slot of the ``SendBlock`` that keeps it.
///
/// The usual send has one task that awaits it, or is awaited only when the outcome is there. For these the state is all there is,
/// and no lock is taken.
struct DeliveryPromise: @unchecked Sendable {
    // Sendable because the slot's state, an atomic word, hands each field over: the producer's thread writes the metadata before it
    // exchanges the state, the one task that awaits writes its continuation before it does, and each reads the other's only after
    // it has seen that state. What has no such order (errors, watchers) is in the block, behind its lock. The block outlives it.

    fileprivate enum State: UInt32, AtomicRepresentable {
        case pending
        case delivered
        case failed
        /// By the one task that can, whose continuation the slot has.
        case awaited
        /// The same task was cancelled, and awaits it no longer.
        case givenUp
        /// The block knows by whom.
        case watched
    }

    struct Storage: ~Copyable {
        fileprivate let block: Unmanaged<SendBlock>
        // Written by the producer's thread, before the state says that it is there.
        fileprivate var metadata = RecordMetadata.none
        fileprivate let state = Atomic(State.pending)
        // Written by the one task that awaits, before the state says so. Unsafe, because the checked one costs an allocation for
        // each send; it is resumed by the thread or the cancellation that ends that state.
        fileprivate var waiter: UnsafeContinuation<Void, Never>?

        init(_ block: Unmanaged<SendBlock>) {
            self.block = block
        }
    }

    private let storage: UnsafeMutablePointer<Storage>

    init(_ storage: UnsafeMutablePointer<Storage>) {
        self.storage = storage
    }

    /// As librdkafka carries it.
    init(opaque: UnsafeMutableRawPointer) {
        storage = opaque.assumingMemoryBound(to: Storage.self)
    }

    var opaque: UnsafeMutableRawPointer { UnsafeMutableRawPointer(storage) }

    var block: Unmanaged<SendBlock> { storage.pointee.block }

    /// One further on in the same block.
    func following(_ distance: Int) -> DeliveryPromise { DeliveryPromise(storage + distance) }

    func index(in slots: UnsafeMutablePointer<Storage>) -> Int { storage - slots }

    private var state: State { storage.pointee.state.load(ordering: .acquiring) }

    private func change(from old: State, to new: State) -> Bool {
        storage.pointee.state.compareExchange(
            expected: old,
            desired: new,
            successOrdering: .acquiringAndReleasing,
            failureOrdering: .acquiring
        ).exchanged
    }
}

// MARK: The outcome

extension DeliveryPromise {
    /// Says where the message is stored. The producer's thread calls this, and once.
    func resolve(_ metadata: RecordMetadata) {
        storage.pointee.metadata = metadata
        wake(storage.pointee.state.exchange(.delivered, ordering: .acquiringAndReleasing), nil)
    }

    /// Says why it has none. The first outcome counts: a sender whose message was not accepted may meet the end of the
    /// producer here.
    func resolve(_ error: KafkaError) {
        block._withUnsafeGuaranteedRef { block in
            var old = State.delivered
            block.note(error, for: self) {
                old = state
                while old != .delivered, old != .failed {
                    if change(from: old, to: .failed) { return true }
                    old = state
                }
                return false
            }
            wake(old, error)
        }
    }

    /// Takes the promise back where the message was not accepted and the application does not know of it; false where it has its
    /// outcome already.
    func discard() -> Bool {
        change(from: .pending, to: .failed)
    }

    private func wake(_ old: State, _ failure: KafkaError?) {
        switch old {
        case .pending, .delivered, .failed, .givenUp: break
        case .awaited: storage.pointee.waiter?.resume()
        case .watched:
            for watcher in block._withUnsafeGuaranteedRef({ $0.takeWatchers(of: self) }) { watcher(failure) }
        }
    }

    /// What became of the message; nil where that is not known yet.
    func report(_ topic: String) throws(KafkaError) -> KafkaDeliveryReport? {
        switch state {
        case .pending, .awaited, .givenUp, .watched: return nil
        case .delivered: return KafkaDeliveryReport(storage.pointee.metadata, topic: topic)
        case .failed:
            guard let failure = block._withUnsafeGuaranteedRef({ $0.failure(of: self) }) else { return nil }
            throw failure
        }
    }

    /// The same.
    func result(_ topic: String) -> Result<KafkaDeliveryReport, KafkaError>? {
        do throws(KafkaError) {
            return try report(topic).map { .success($0) }
        } catch {
            return .failure(error)
        }
    }
}

// MARK: Awaiting it

extension DeliveryPromise {
    /// Waits for the outcome, or until the task is cancelled: for the one task that knows of the message, once.
    ///
    /// The race with the cancellation is decided in the state, and not by `waitCancellably`: that asks once more whether the task is
    /// cancelled, which was 4 % of what a thousand tasks on the producer's executor take to send.
    func wait() async {
        await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                storage.pointee.waiter = continuation
                // Where that does not succeed, the outcome or the cancellation was there first.
                if !change(from: .pending, to: .awaited) { continuation.resume() }
            }
        } onCancel: {
            if change(from: .pending, to: .givenUp) { return }
            if change(from: .awaited, to: .givenUp) { storage.pointee.waiter?.resume() }
        }
    }

    /// The same for any task, however often.
    func waitWithOthers() async {
        let id = WaiterID.next()
        await waitCancellablyUnchecked { continuation in
            add(SendWatcher(.resume(continuation), id: id))
        } onCancel: {
            block._withUnsafeGuaranteedRef { $0.removeWatcher(id, of: self) }?(nil)
        }
    }

    /// Adds a watcher to be told, or tells it at once.
    func add(_ watcher: SendWatcher) {
        let isAdded = block._withUnsafeGuaranteedRef { block in
            block.add(watcher, to: self) { change(from: .pending, to: .watched) || state == .watched }
        }
        if !isAdded { watcher(block._withUnsafeGuaranteedRef { $0.failure(of: self) }) }
    }
}
