internal import Synchronization

/// Messages that are in flight together, with a slot for each one's ``DeliveryPromise``.
///
/// Single sends share blocks, and a batch has its own: so what a message costs by itself is its slot, and there is one object
/// and one link for many of them. librdkafka carries a pointer to the slot; ``SendPath`` keeps the block alive until each of
/// its slots has its outcome, or is given back unused, and so does each ``KafkaProducer/PendingDelivery``.
final class SendBlock: @unchecked Sendable {
    // Sendable because each member says who writes it: what is constant is written by the sender that makes the block, before it
    // puts it into the path under the path's lock; the links and counts belong to that sender until then and to the producer's
    // thread afterwards; the slots are promises, see there; the rest has a lock.

    /// How many messages a batch's block has at most: the slots of so many fit into a processor's first cache.
    static let maximumCapacity = 1_024
    /// How many single sends share a block.
    static let sharedCapacity = 64
    /// Of a shared block's first slot: its address has room for a count of slots.
    static let sharedAlignment = 128

    let capacity: Int
    private let memory: UnsafeMutableRawPointer
    private let slots: UnsafeMutablePointer<DeliveryPromise.Storage>
    private let batch: PendingBatch?

    // Links of the path (to what was put in before), and then of what is in flight, and this block's number there, 0 outside of
    // it. They belong to the sender that puts the block in, and then to the producer's thread.
    var previous: Unmanaged<SendBlock>?
    var next: Unmanaged<SendBlock>?
    var sequence: UInt64 = 0
    /// How many of its messages have no outcome yet, with those that it still has room for. It belongs to the same.
    var messageCount: Int

    /// What few messages have.
    private struct Rare {
        var failures: [Int: KafkaError] = [:]
        var watchers: [Int: [SendWatcher]] = [:]
    }

    // Tasks that await a report meet the producer's thread here, where a promise's own state does not say it all.
    private let rare = Mutex(Rare())

    /// - Parameters:
    ///   - capacity: How many messages it is for.
    ///   - batch: Told when all have their outcomes.
    convenience init(capacity: Int, _ batch: PendingBatch? = nil) {
        self.init(capacity, alignment: MemoryLayout<DeliveryPromise.Storage>.alignment, batch)
    }

    /// One for single sends.
    static func shared() -> SendBlock {
        SendBlock(sharedCapacity, alignment: sharedAlignment, nil)
    }

    private init(_ capacity: Int, alignment: Int, _ batch: PendingBatch?) {
        self.capacity = capacity
        self.messageCount = capacity
        self.batch = batch
        memory = .allocate(byteCount: capacity * MemoryLayout<DeliveryPromise.Storage>.stride, alignment: alignment)
        slots = memory.bindMemory(to: DeliveryPromise.Storage.self, capacity: capacity)
        for index in 0..<capacity { (slots + index).initialize(to: DeliveryPromise.Storage(.passUnretained(self))) }
    }

    deinit {
        slots.deinitialize(count: capacity)
        memory.deallocate()
    }

    func promise(_ index: Int) -> DeliveryPromise {
        DeliveryPromise(slots + index)
    }

    /// Tells the batch that each of its messages has its outcome.
    func end() {
        batch?.oneIsDone()
    }

    /// Gives all that have no outcome this one, when nothing is reported any more.
    func failRest(_ error: KafkaError) {
        for index in 0..<capacity { promise(index).resolve(error) }
    }
}

// MARK: What promises do not keep

extension SendBlock {
    /// Notes why a message was not delivered, and lets `isNew` say whether that is its outcome.
    func note(_ error: KafkaError, for promise: DeliveryPromise, where isNew: () -> Bool) {
        rare.withLock { if isNew() { $0.failures[promise.index(in: slots)] = error } }
    }

    func failure(of promise: DeliveryPromise) -> KafkaError? {
        rare.withLock { $0.failures[promise.index(in: slots)] }
    }

    /// Adds a watcher that is told of the outcome, where `isPending` says that there is none yet.
    ///
    /// - Returns: What `isPending` says.
    func add(_ watcher: SendWatcher, to promise: DeliveryPromise, where isPending: () -> Bool) -> Bool {
        rare.withLock { rare in
            guard isPending() else { return false }
            rare.watchers[promise.index(in: slots), default: []].append(watcher)
            return true
        }
    }

    func removeWatcher(_ id: UInt64, of promise: DeliveryPromise) -> SendWatcher? {
        rare.withLock { rare in
            let index = promise.index(in: slots)
            guard let position = rare.watchers[index]?.firstIndex(where: { $0.id == id }) else { return nil }
            return rare.watchers[index]?.remove(at: position)
        }
    }

    func takeWatchers(of promise: DeliveryPromise) -> [SendWatcher] {
        rare.withLock { $0.watchers.removeValue(forKey: promise.index(in: slots)) ?? [] }
    }
}

/// What keeps count of several messages, a transaction for instance, and is told of each what became of it.
protocol SendObserver: AnyObject, Sendable {
    /// - Parameter failure: Why the message is not stored, or may not be; nil where it is.
    func noteOutcome(_ failure: KafkaError?)
}

/// A task or an observer that is told what became of a message.
struct SendWatcher {
    enum Action {
        // Unsafe, because the checked one costs an allocation; a watcher is resumed when it is taken off its list, once.
        case resume(UnsafeContinuation<Void, Never>)
        case tell(any SendObserver)
    }

    let action: Action
    let id: UInt64

    /// Who has no id is never taken off before there is an outcome.
    init(_ action: Action, id: UInt64 = 0) {
        self.action = action
        self.id = id
    }

    /// - Parameter failure: Why the message was not delivered, where that is so.
    func callAsFunction(_ failure: KafkaError?) {
        switch action {
        case .resume(let continuation): continuation.resume()
        case .tell(let observer): observer.noteOutcome(failure)
        }
    }
}
