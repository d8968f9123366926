internal import Synchronization

/// Messages of one `send(contentsOf:)` that are handed over one right after the other: in flight they are one
/// ``KafkaProducer/PendingDelivery``, and each has a slot for its report instead of an object of its own.
final class BatchPart: @unchecked Sendable {
    // Sendable because each member is written by one thread before others see it, or says who writes it.
    typealias PendingDelivery = KafkaProducer.PendingDelivery
    typealias Place = PendingDelivery.Place

    /// How many messages a part has at most: the slots of so many fit into a processor's first cache.
    static let maximumCount = 1_024

    fileprivate enum Outcome: UInt32, AtomicRepresentable {
        case none
        case place
        case failure
    }

    fileprivate struct Slot: ~Copyable {
        let part: Unmanaged<BatchPart>
        // Written by the producer's thread alone, and only before the outcome is stored.
        var place = Place.none
        let outcome = Atomic(Outcome.none)
    }

    let count: Int
    /// Told when all have their outcomes.
    let batch: PendingBatch
    // Written once, before the first message is handed over.
    private var pending: Unmanaged<PendingDelivery>?
    private let slots: UnsafeMutablePointer<Slot>
    // Who hands the messages over writes why one was not accepted, the producer's thread why one was not confirmed.
    private let failures = Mutex<[Int: KafkaError]>([:])

    init(count: Int, _ batch: PendingBatch) {
        self.count = count
        self.batch = batch
        slots = .allocate(capacity: count)
        for index in 0..<count { (slots + index).initialize(to: Slot(part: .passUnretained(self))) }
    }

    /// Makes what is in flight for all of them, and keeps this alive. Called once, before the first is handed over.
    func begin() -> PendingDelivery {
        let pending = PendingDelivery(self)
        self.pending = .passUnretained(pending)
        return pending
    }

    deinit {
        slots.deinitialize(count: count)
        slots.deallocate()
    }

    /// One message's slot, as librdkafka carries it: a pointer whose lowest bit tells it from one to a pending delivery.
    struct Reference {
        private let slot: UnsafeMutablePointer<Slot>

        fileprivate init(_ slot: UnsafeMutablePointer<Slot>) {
            self.slot = slot
        }

        /// Nil where it is a pointer to a pending delivery.
        init?(_ opaque: UnsafeMutableRawPointer) {
            guard UInt(bitPattern: opaque) & 1 == 1 else { return nil }
            slot = (opaque - 1).assumingMemoryBound(to: Slot.self)
        }

        var opaque: UnsafeMutableRawPointer { UnsafeMutableRawPointer(slot) + 1 }

        /// What is in flight.
        var pending: Unmanaged<PendingDelivery>? {
            slot.pointee.part._withUnsafeGuaranteedRef { $0.pending }
        }

        func resolve(_ place: Place) {
            slot.pointee.place = place
            slot.pointee.outcome.store(.place, ordering: .releasing)
        }

        func resolve(_ error: KafkaError) {
            slot.pointee.part._withUnsafeGuaranteedRef { $0.fail(at: slot - $0.slots, error) }
        }
    }

    func reference(_ index: Int) -> Reference {
        Reference(slots + index)
    }

    /// Notes why a message was not accepted, or not confirmed. The first reason counts.
    func fail(at index: Int, _ error: KafkaError) {
        failures.withLock { failures in
            guard slots[index].outcome.load(ordering: .relaxed) == .none else { return }
            failures[index] = error
            slots[index].outcome.store(.failure, ordering: .releasing)
        }
    }

    /// The same for all that have no outcome, when nothing is reported any more.
    func failRest(_ error: KafkaError) {
        for index in 0..<count { fail(at: index, error) }
    }

    /// What became of a message; nil where that is not known yet.
    func result(at index: Int, topic: String) -> Result<KafkaDeliveryReport, KafkaError>? {
        switch slots[index].outcome.load(ordering: .acquiring) {
        case .none: nil
        case .place: .success(KafkaDeliveryReport(slots[index].place, topic: topic))
        case .failure: failures.withLock { $0[index] }.map { .failure($0) }
        }
    }
}
