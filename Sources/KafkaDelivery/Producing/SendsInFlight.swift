/// The sends without an outcome, in blocks, oldest first. Used by whoever reads reports, one at a time.
///
/// Linked through the blocks themselves: librdkafka carries a pointer to a message's slot, which knows its block, this list
/// keeps it alive, and no dictionary is searched when a report arrives. The links do not count references: the list has one of
/// each block, which came with it from the ``SendInbox``, and goes on to whoever it is taken off for.
struct SendsInFlight {
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

    /// Takes over what is in the inbox, in the order in which it was put in.
    ///
    /// In one pass from the last to the first, as the inbox links them: it is a walk through memory that other threads have
    /// just written.
    mutating func takeOver(_ inbox: borrowing SendInbox) {
        guard let newest = inbox.takeAll() else { return }
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
    mutating func takeOverSealed(_ inbox: borrowing SendInbox) {
        let open = inbox.seal()
        takeOver(inbox)
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

    /// Gives up what is left, whose outcome is unknown for ever. Nothing of it is ever reported: nobody reads reports any
    /// more.
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
