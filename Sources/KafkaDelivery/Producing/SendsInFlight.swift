/// The sends without an outcome, oldest first. Used by the producer's thread alone.
///
/// Linked through the sends themselves: librdkafka carries a pointer to each, this list keeps it alive, and no dictionary is
/// searched when its report arrives. The links do not count references: the list has one of each send, which came with it
/// from the ``SendInbox``, and goes on to whoever it is taken off for.
struct SendsInFlight {
    typealias PendingDelivery = KafkaProducer.PendingDelivery

    /// How many there are.
    private(set) var count = 0
    /// The number of the last send that joined.
    private(set) var lastSequence: UInt64 = 0
    /// What happened to the sends that were in flight when closing began.
    private(set) var summary = KafkaProducer.CloseSummary()
    /// Whether outcomes are counted for the summary.
    var isClosing = false

    private var first: Unmanaged<PendingDelivery>?
    private var last: Unmanaged<PendingDelivery>?

    /// Takes over what is in the inbox, in the order in which it was put in.
    mutating func takeOver(_ inbox: borrowing SendInbox) {
        guard var current = inbox.takeAll() else { return }
        var reversed: Unmanaged<PendingDelivery>?
        while true {
            let next = current._withUnsafeGuaranteedRef { pending in
                defer { pending.next = reversed }
                return pending.next
            }
            reversed = current
            guard let next else { break }
            current = next
        }
        while let pending = reversed {
            reversed = pending._withUnsafeGuaranteedRef { $0.next }
            append(pending)
        }
    }

    /// Takes on a send, with a reference of it.
    mutating func append(_ reference: Unmanaged<PendingDelivery>) {
        lastSequence += 1
        reference._withUnsafeGuaranteedRef { pending in
            pending.sequence = lastSequence
            pending.previous = last
            pending.next = nil
        }
        if let last { last._withUnsafeGuaranteedRef { $0.next = reference } } else { first = reference }
        last = reference
        count += 1
    }

    /// Takes a send off the list: its reference is the caller's.
    mutating func unlink(_ reference: Unmanaged<PendingDelivery>) {
        let (next, previous) = reference._withUnsafeGuaranteedRef { pending in
            defer {
                pending.next = nil
                pending.previous = nil
                pending.sequence = 0
            }
            return (pending.next, pending.previous)
        }
        if let next { next._withUnsafeGuaranteedRef { $0.previous = previous } } else { last = previous }
        if let previous { previous._withUnsafeGuaranteedRef { $0.next = next } } else { first = next }
        count -= 1
    }

    /// Takes off a send that librdkafka did not take after all; not where that has been done already.
    mutating func remove(_ pending: PendingDelivery) {
        guard pending.sequence != 0 else { return }
        let reference = Unmanaged.passUnretained(pending)
        unlink(reference)
        reference.release()
    }

    /// Takes off a send whose report arrived, and counts it where the producer is closing. Its reference is the caller's.
    mutating func settle(_ reference: Unmanaged<PendingDelivery>, _ outcome: PendingDelivery.Outcome) {
        unlink(reference)
        guard isClosing else { return }
        switch outcome {
        case .success: summary.delivered += 1
        case .failure(let error) where error.persistence == .possiblyPersisted: summary.unknown += 1
        case .failure: summary.failed += 1
        }
    }

    /// Whether every send up to `sequence` has its outcome.
    func isPast(_ sequence: UInt64) -> Bool {
        (first?._withUnsafeGuaranteedRef { $0.sequence } ?? .max) > sequence
    }

    /// Gives up what is left, whose outcome is unknown for ever. Nothing of it is ever reported: nobody reads reports any
    /// more.
    mutating func abandon() -> [PendingDelivery] {
        var abandoned: [PendingDelivery] = []
        abandoned.reserveCapacity(count)
        // One by one: releasing a long chain by its head would recurse once for each link.
        while let reference = first {
            unlink(reference)
            abandoned.append(reference.takeRetainedValue())
        }
        summary.unknown += abandoned.count
        return abandoned
    }
}
