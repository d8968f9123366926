internal import Synchronization

/// The way of every message from a sender to its outcome. It owns the blocks whose slots are the messages' promises: senders take
/// slots here, and the producer's thread, which alone reads reports, takes the blocks over into ``InFlight``.
///
/// A send is either refused, because the path is closed, or its block is here before librdkafka has the message: the producer's
/// thread takes over what is here before it looks a report up, and so always finds the block.
///
/// ARCHITECTURE.md has the states of a block and of a promise as diagrams.
struct SendPath: ~Copyable, Sendable {
    // Not private: the compiler of Swift 6.3 then fails on the class that has a path, in debug builds.
    struct State {
        fileprivate var isClosed = false
        /// What was put in last, linked to what was before it.
        fileprivate var newest: Unmanaged<SendBlock>?
        /// How many times the right was given out to hand something to librdkafka: with each slot of a shared block, and once
        /// with a block of its own.
        fileprivate var admitted = 0
        /// What had no outcome when the thread ended. A sender that has taken a slot may not have got so far as to look into
        /// it, however long ago that was.
        fileprivate var abandoned: [SendBlock] = []
    }

    /// A slot that is one sender's alone.
    struct Slot {
        let block: SendBlock
        let promise: DeliveryPromise
    }

    // Blocks pass here, and not every send.
    private let state = Mutex(State())
    // The shared block, as the address of its first slot, and in the bits that are free for it how many of its slots are given
    // out. So one exchange takes a slot and finds its block, which cannot end before: it waits for what becomes of each slot.
    private let shared = Atomic<UInt>(SendPath.noOpenBlock)
    // Copies of what the state says, written under its lock.
    private let isEmpty = Atomic(true)
    private let closed = Atomic(false)
    /// How many of those who were admitted have nothing to do with librdkafka any more. Counted by every sender, which is
    /// why it is no lock.
    private let returned = Atomic(0)

    private static let countMask = UInt(SendBlock.sharedAlignment - 1)
    /// Sentinel: no block, and a count that says that all of its slots are given out.
    private static let noOpenBlock = UInt(SendBlock.sharedCapacity)

    /// A slot for a single send; nil where the path is closed.
    func takeSlot() -> Slot? {
        var word = shared.load(ordering: .relaxed)
        while !isClosed {
            if Self.hasRoom(word) {
                let (isTaken, now) = shared.weakCompareExchange(
                    expected: word,
                    desired: word + 1,
                    successOrdering: .acquiring,
                    failureOrdering: .relaxed
                )
                if isTaken { return Self.slot(word) }
                word = now
            } else {
                if let slot = share() { return slot }
                word = shared.load(ordering: .relaxed)
            }
        }
        return nil
    }

    private static func hasRoom(_ word: UInt) -> Bool { word & countMask < noOpenBlock }

    private static func slot(_ word: UInt) -> Slot? {
        guard let first = UnsafeMutableRawPointer(bitPattern: word & ~countMask) else { return nil }
        let promise = DeliveryPromise(opaque: first).following(Int(word & countMask))
        return Slot(block: promise.block.takeUnretainedValue(), promise: promise)
    }

    /// Puts a new shared block in, and takes its first slot; nil where another sender has, or the path is closed.
    private func share() -> Slot? {
        state.withLock { state in
            guard !state.isClosed, !Self.hasRoom(shared.load(ordering: .relaxed)) else { return nil }
            let block = SendBlock.shared()
            put(block, &state)
            state.admitted += SendBlock.sharedCapacity
            let word = UInt(bitPattern: block.promise(0).opaque)
            shared.store(word + 1, ordering: .releasing)
            return Self.slot(word)
        }
    }

    /// Puts a block of its own in.
    ///
    /// - Returns: Whether the path was open.
    func put(_ block: SendBlock) -> Bool {
        state.withLock { state in
            guard !state.isClosed else { return false }
            put(block, &state)
            state.admitted += 1
            return true
        }
    }

    /// The block is kept alive until it is taken over and released.
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

    /// A send that has a slot, or a block of its own, calls librdkafka no more, and has noted what that did not take.
    func noteReturn() {
        returned.wrappingAdd(1, ordering: .releasing)
    }

    /// Whether every sender that was admitted has returned from librdkafka, and noted what it did not take. True for good where the path is
    /// closed and sealed.
    var haveAllReturned: Bool {
        // In this order: whoever was admitted until then had returned before.
        let returned = returned.load(ordering: .acquiring)
        return state.withLock { $0.admitted } == returned
    }

    /// Whether every further send is refused, a moment ago.
    var isClosed: Bool { closed.load(ordering: .relaxed) }
}

// MARK: For the producer's thread

extension SendPath {
    /// Takes all blocks out.
    ///
    /// - Returns: The one that was put in last, linked to those before it by `previous`. The references are the caller's.
    fileprivate func takeAll() -> Unmanaged<SendBlock>? {
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
        let word = shared.exchange(Self.noOpenBlock, ordering: .acquiring)
        guard Self.hasRoom(word), let block = Self.slot(word)?.block else { return nil }
        let unused = block.capacity - Int(word & Self.countMask)
        state.withLock { $0.admitted -= unused }
        return (block, unused)
    }

    /// Keeps what had no outcome at the end of the thread for as long as the producer is there.
    func keep(_ abandoned: [SendBlock]) {
        state.withLock { $0.abandoned = abandoned }
    }
}

extension SendPath {
    /// The messages without an outcome, in blocks, oldest first. The producer's thread's alone.
    ///
    /// Linked through the blocks themselves: librdkafka carries a pointer to a message's slot, which knows its block, this list
    /// keeps it alive, and no dictionary is searched when a report arrives. The links do not count references: the list has one of
    /// each block, which came with it from the path, and which the caller has when the block is taken off.
    struct InFlight {
        /// How many messages there are, with those that the shared block still has room for.
        private(set) var count = 0
        /// The number of the blocks that joined last; those that did together have the same.
        private(set) var lastSequence: UInt64 = 0
        /// What happened to the sends that were in flight when closing began.
        private(set) var summary = KafkaCloseSummary()
        /// Whether outcomes are counted for the summary.
        var isClosing = false

        private var first: Unmanaged<SendBlock>?
        private var last: Unmanaged<SendBlock>?

        /// Takes over what senders have put into the path, in that order.
        ///
        /// In one pass from the last to the first, as the path links them: it is a walk through memory that other threads have
        /// just written.
        mutating func takeOver(_ path: borrowing SendPath) {
            guard let newest = path.takeAll() else { return }
            lastSequence += 1
            var current = newest
            var following: Unmanaged<SendBlock>?
            while true {
                let previous = current._withUnsafeGuaranteedRef { block in
                    count += block.messageCount
                    block.sequence = lastSequence
                    block.next = following
                    return block.previous
                }
                guard let previous else { break }
                following = current
                current = previous
            }
            attach(current, newest)
        }

        /// The same, and what has no message yet is not counted: the shared block gets no more.
        mutating func takeOverSealed(_ path: borrowing SendPath) {
            let open = path.seal()
            takeOver(path)
            if let open { remove(open.block, count: open.unused) }
        }

        /// Takes on a block of one message, with a reference of it. It may have been here before.
        mutating func append(_ reference: Unmanaged<SendBlock>) {
            lastSequence += 1
            count += 1
            reference._withUnsafeGuaranteedRef { block in
                block.sequence = lastSequence
                block.messageCount = 1
            }
            attach(reference, reference)
        }

        /// Continues the list with what is linked between these two.
        private mutating func attach(_ oldest: Unmanaged<SendBlock>, _ newest: Unmanaged<SendBlock>) {
            oldest._withUnsafeGuaranteedRef { $0.previous = last }
            if let last { last._withUnsafeGuaranteedRef { $0.next = oldest } } else { first = oldest }
            last = newest
        }

        /// Takes a block off the list: its reference is the caller's.
        private mutating func unlink(_ reference: Unmanaged<SendBlock>) {
            let (next, previous) = reference._withUnsafeGuaranteedRef { block in
                defer {
                    block.next = nil
                    block.previous = nil
                    block.sequence = 0
                }
                return (block.next, block.previous)
            }
            if let next { next._withUnsafeGuaranteedRef { $0.previous = previous } } else { last = previous }
            if let previous { previous._withUnsafeGuaranteedRef { $0.next = next } } else { first = next }
        }

        /// Takes off messages that librdkafka did not take after all; not where all has been given up already.
        ///
        /// - Returns: Whether they were the block's last ones.
        @discardableResult
        mutating func remove(_ block: SendBlock, count removed: Int = 1) -> Bool {
            guard block.sequence != 0 else { return false }
            let reference = Unmanaged.passUnretained(block)
            guard take(removed, of: reference) else { return false }
            reference.release()
            return true
        }

        /// Takes off a message whose report arrived, and counts it where the producer is closing.
        ///
        /// - Parameter failure: Why it was not confirmed, where it was not.
        /// - Returns: Whether it was the block's last one: then the block's reference is the caller's.
        mutating func settle(_ reference: Unmanaged<SendBlock>, failure: KafkaError?) -> Bool {
            if isClosing { count(failure) }
            return take(1, of: reference)
        }

        /// - Returns: Whether none is left.
        private mutating func take(_ taken: Int, of reference: Unmanaged<SendBlock>) -> Bool {
            count -= taken
            let isLast = reference._withUnsafeGuaranteedRef { block in
                block.messageCount -= taken
                return block.messageCount == 0
            }
            if isLast { unlink(reference) }
            return isLast
        }

        private mutating func count(_ failure: KafkaError?) {
            switch failure {
            case nil: summary.delivered += 1
            case let error? where error.persistence == .possiblyPersisted: summary.unknown += 1
            case _?: summary.failed += 1
            }
        }

        /// Whether every send up to `sequence` has its outcome.
        func isPast(_ sequence: UInt64) -> Bool {
            (first?._withUnsafeGuaranteedRef { $0.sequence } ?? .max) > sequence
        }

        /// Gives up what is left, whose outcome is unknown for ever: no report is read any more.
        mutating func abandon() -> [SendBlock] {
            var abandoned: [SendBlock] = []
            summary.unknown += count
            count = 0
            // One by one: releasing a long chain by its head would recurse once for each link.
            while let reference = first {
                unlink(reference)
                abandoned.append(reference.takeRetainedValue())
            }
            return abandoned
        }
    }
}
