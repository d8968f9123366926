internal import Synchronization

/// Messages that are in flight together: one entry of the inbox and of the list of sends, with a slot for each message's
/// outcome.
///
/// Single sends share blocks, and a batch has its own: so what a message costs by itself is its slot, and there is one object
/// and one link for many of them. librdkafka carries a pointer to the slot; inbox and list keep the block alive until each of
/// its slots has its outcome, or is given back unused, and so does whoever may still ask for one.
final class SendBlock: @unchecked Sendable {
    // Sendable because each member is written by one thread before others see it, or says who writes it.

    /// How many messages a batch's block has at most: the slots of so many fit into a processor's first cache.
    static let maximumCapacity = 1_024
    /// How many single sends share a block.
    static let sharedCapacity = 64
    /// Of a shared block's first slot: its address has room for a count of slots.
    static let sharedAlignment = 128

    let capacity: Int
    private let memory: UnsafeMutableRawPointer
    private let slots: UnsafeMutablePointer<SendSlot.Storage>
    private let batch: PendingBatch?
    private let demand: ReportDemand

    // Links of the inbox (to what was put in before), and then of the list of sends in flight, and this block's number in that
    // list, 0 outside of it. They belong to whoever puts the block into the inbox, and from then on to whoever reads reports.
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

    // Whoever awaits a report meets whoever reads it here, where a slot's own state does not say it all.
    private let rare = Mutex(Rare())

    /// - Parameters:
    ///   - capacity: How many messages it is for.
    ///   - demand: Told when somebody waits for a report.
    ///   - batch: Told when all have their outcomes.
    convenience init(capacity: Int, _ demand: ReportDemand, _ batch: PendingBatch? = nil) {
        self.init(capacity, alignment: MemoryLayout<SendSlot.Storage>.alignment, demand, batch)
    }

    /// One for single sends.
    convenience init(sharedBy demand: ReportDemand) {
        self.init(Self.sharedCapacity, alignment: Self.sharedAlignment, demand, nil)
    }

    private init(_ capacity: Int, alignment: Int, _ demand: ReportDemand, _ batch: PendingBatch?) {
        self.capacity = capacity
        self.messageCount = capacity
        self.demand = demand
        self.batch = batch
        memory = .allocate(byteCount: capacity * MemoryLayout<SendSlot.Storage>.stride, alignment: alignment)
        slots = memory.bindMemory(to: SendSlot.Storage.self, capacity: capacity)
        for index in 0..<capacity { (slots + index).initialize(to: SendSlot.Storage(.passUnretained(self))) }
    }

    deinit {
        slots.deinitialize(count: capacity)
        memory.deallocate()
    }

    func slot(_ index: Int) -> SendSlot {
        SendSlot(slots + index)
    }

    /// Tells the batch that each of its messages has its outcome.
    func end() {
        batch?.oneIsDone()
    }

    /// Gives all that have no outcome this one, when nothing is reported any more.
    func failRest(_ error: KafkaError) {
        for index in 0..<capacity { slot(index).resolve(error) }
    }

    /// Somebody is about to wait for a report.
    func wantReport() {
        demand.want()
    }
}

// MARK: What slots do not keep

extension SendBlock {
    /// Notes why a message has no place, and lets `isNew` say whether that is its outcome.
    func note(_ error: KafkaError, for slot: SendSlot, where isNew: () -> Bool) {
        rare.withLock { if isNew() { $0.failures[slot.index(in: slots)] = error } }
    }

    func failure(of slot: SendSlot) -> KafkaError? {
        rare.withLock { $0.failures[slot.index(in: slots)] }
    }

    /// Adds somebody who is told of the outcome, where `isPending` says that there is none yet.
    ///
    /// - Returns: What `isPending` says.
    func add(_ watcher: SendWatcher, to slot: SendSlot, where isPending: () -> Bool) -> Bool {
        rare.withLock { rare in
            guard isPending() else { return false }
            rare.watchers[slot.index(in: slots), default: []].append(watcher)
            return true
        }
    }

    func removeWatcher(_ id: UInt64, of slot: SendSlot) -> SendWatcher? {
        rare.withLock { rare in
            let index = slot.index(in: slots)
            guard let position = rare.watchers[index]?.firstIndex(where: { $0.id == id }) else { return nil }
            return rare.watchers[index]?.remove(at: position)
        }
    }

    func takeWatchers(of slot: SendSlot) -> [SendWatcher] {
        rare.withLock { $0.watchers.removeValue(forKey: slot.index(in: slots)) ?? [] }
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
        // Unsafe, because the checked one costs an allocation; whoever takes a watcher off its list, which happens once,
        // resumes it.
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

    /// - Parameter failure: Why the message has no place, where that is so.
    func callAsFunction(_ failure: KafkaError?) {
        switch action {
        case .resume(let continuation): continuation.resume()
        case .tell(let observer): observer.noteOutcome(failure)
        }
    }
}
