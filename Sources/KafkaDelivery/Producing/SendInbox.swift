internal import Synchronization

/// Sends on their way to whoever reads reports, and the block in which the next single send gets its slot.
///
/// A send is either refused, because the inbox is closed, or it is in the inbox before librdkafka has it: whoever reads its
/// report and takes over what is here finds it.
struct SendInbox: ~Copyable, Sendable {
    // Not private: the compiler of Swift 6.3 then fails on the class that has an inbox, in debug builds.
    struct State {
        fileprivate var isClosed = false
        /// What was put in last, linked to what was before it.
        fileprivate var newest: Unmanaged<SendBlock>?
        /// How many times the right was given out to hand something to librdkafka: with each slot of a shared block, and once
        /// with a block of its own.
        fileprivate var admitted = 0
    }

    /// A slot that is somebody's alone.
    struct Claim {
        let block: SendBlock
        let slot: SendSlot
        /// Whether it is the last one of its block.
        let isLast: Bool
    }

    // Blocks pass here, and not every send.
    private let state = Mutex(State())
    // The shared block, as the address of its first slot, and in the bits that are free for it how many of its slots are given
    // out. So one exchange takes a slot and finds its block, which cannot end before: it waits for what becomes of each slot.
    private let shared = Atomic<UInt>(SendInbox.none)
    private let demand: ReportDemand
    // Copies of what the state says, written under its lock.
    private let isEmpty = Atomic(true)
    private let closed = Atomic(false)
    /// How many of those who were admitted have nothing to do with librdkafka any more. Counted by every sender, which is
    /// why it is no lock.
    private let returned = Atomic(0)

    private static let countMask = UInt(SendBlock.sharedAlignment - 1)
    /// No block, none of whose slots is left.
    private static let none = UInt(SendBlock.sharedCapacity)

    init(_ demand: ReportDemand) {
        self.demand = demand
    }

    /// A slot for a single send; nil where the inbox is closed.
    func claim() -> Claim? {
        var word = shared.load(ordering: .relaxed)
        while !isClosed {
            if Self.hasRoom(word) {
                let (isTaken, now) = shared.weakCompareExchange(
                    expected: word,
                    desired: word + 1,
                    successOrdering: .acquiring,
                    failureOrdering: .relaxed
                )
                if isTaken { return Self.claim(word) }
                word = now
            } else {
                if let claim = share() { return claim }
                word = shared.load(ordering: .relaxed)
            }
        }
        return nil
    }

    private static func hasRoom(_ word: UInt) -> Bool { word & countMask < none }

    private static func claim(_ word: UInt) -> Claim? {
        guard let first = UnsafeMutableRawPointer(bitPattern: word & ~countMask) else { return nil }
        let index = Int(word & countMask)
        let slot = SendSlot(opaque: first).following(index)
        return Claim(block: slot.block.takeUnretainedValue(), slot: slot, isLast: index + 1 == SendBlock.sharedCapacity)
    }

    /// Puts a new shared block in, and claims its first slot; nil where somebody else has, or the inbox is closed.
    private func share() -> Claim? {
        state.withLock { state in
            guard !state.isClosed, !Self.hasRoom(shared.load(ordering: .relaxed)) else { return nil }
            let block = SendBlock(sharedBy: demand)
            put(block, &state)
            state.admitted += SendBlock.sharedCapacity
            let word = UInt(bitPattern: block.slot(0).opaque)
            shared.store(word + 1, ordering: .releasing)
            return Self.claim(word)
        }
    }

    /// Puts a block of its own in.
    ///
    /// - Returns: Whether the inbox was open.
    func put(_ block: SendBlock) -> Bool {
        state.withLock { state in
            guard !state.isClosed else { return false }
            put(block, &state)
            state.admitted += 1
            return true
        }
    }

    /// The block is kept alive until it is taken out and released.
    private func put(_ block: SendBlock, _ state: inout State) {
        block.previous = state.newest
        state.newest = .passRetained(block)
        isEmpty.store(false, ordering: .releasing)
    }

    /// Refuses every further send.
    func close() {
        state.withLock { state in
            state.isClosed = true
            closed.store(true, ordering: .releasing)
        }
    }

    /// A send that has a slot, or a block of its own, calls librdkafka no more.
    func noteReturn() {
        returned.wrappingAdd(1, ordering: .releasing)
    }

    /// Whether nobody who was admitted has anything to do with librdkafka any more. True for good where the inbox is closed
    /// and sealed.
    var haveAllReturned: Bool {
        let admitted = state.withLock { $0.admitted }
        return returned.load(ordering: .acquiring) == admitted
    }

    /// Whether every further send is refused, a moment ago.
    var isClosed: Bool { closed.load(ordering: .relaxed) }
}

// MARK: For whoever reads reports

extension SendInbox {
    /// Takes all blocks out.
    ///
    /// - Returns: The one that was put in last, linked to those before it by `previous`. The references are the caller's.
    func takeAll() -> Unmanaged<SendBlock>? {
        guard !isEmpty.load(ordering: .acquiring) else { return nil }
        return state.withLock { state in
            isEmpty.store(true, ordering: .relaxed)
            return state.newest.take()
        }
    }

    /// Gives out no more slots of the shared block.
    ///
    /// - Returns: The block, and how many of its slots stay unused; nil where there is none.
    func seal() -> (block: SendBlock, unused: Int)? {
        let word = shared.exchange(Self.none, ordering: .acquiring)
        guard Self.hasRoom(word), let block = Self.claim(word)?.block else { return nil }
        let unused = block.capacity - Int(word & Self.countMask)
        state.withLock { $0.admitted -= unused }
        return (block, unused)
    }
}
