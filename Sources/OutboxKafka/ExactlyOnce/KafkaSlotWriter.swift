internal import KafkaDelivery
internal import OutboxDelivery
internal import Synchronization

/// One taking over of a slot at Kafka: a transactional producer that was initialised for it.
///
/// Initialising fences whoever had the slot before, so it happens once, before the publisher notes a batch in the database as the
/// slot's owner. A producer that initialised itself anew later, to go on after a failure, would fence whoever owns the slot by then.
/// So after a batch that was not stored this one sends no other: what is to be done otherwise then is in its ``KafkaSlotCare``, for the
/// next taking over.
final class KafkaSlotWriter: ExactlyOnceWriter {
    typealias Step = KafkaExactlyOnceDestination.Configuration.Step

    let lastNumber: Int64
    private let producer: KafkaTransactionalProducer
    private let group: String
    private let timeout: Duration
    private let care: KafkaSlotCares
    private let atStep: @Sendable (Step) -> Void
    // The publisher sends one batch at a time; the tasks it does that in differ.
    private let isSpent = Atomic(false)

    /// - Parameters:
    ///   - producer: Initialised.
    ///   - group: The slot's, named as the transactional id is.
    ///   - lastNumber: What the group has.
    ///   - timeout: How long a transaction may take until the coordinator aborts it.
    ///   - care: The destination's.
    ///   - atStep: For tests.
    init(
        _ producer: KafkaTransactionalProducer,
        group: String,
        lastNumber: Int64,
        timeout: Duration,
        care: KafkaSlotCares,
        atStep: @escaping @Sendable (Step) -> Void
    ) {
        self.producer = producer
        self.group = group
        self.lastNumber = lastNumber
        self.timeout = timeout
        self.care = care
        self.atStep = atStep
    }

    var maximumBatchCount: Int { care[group].maximumCount ?? .max }

    func publish(_ batch: [OutboxEvent], as inflight: OutboxInflight) async -> ExactlyOnceResult {
        guard !isSpent.load(ordering: .relaxed) else {
            return ExactlyOnceResult(batch.map { _ in .unavailable(reason: "its slot has to be taken over first") })
        }
        let records = batch.map(KafkaOutboxRecord.message)
        let place = KafkaTopicPartition(topic: inflight.topic, partition: 0)
        let isOneByOne = care[group].isOneByOne
        var sent = KafkaSlotBatch(records, timeout: timeout)
        do {
            try await producer.withTransaction { transaction in
                if isOneByOne {
                    await sent.sendOneByOne(in: transaction)
                } else {
                    await sent.sendTogether(in: transaction)
                }
                if let failure = sent.failure { throw failure }
                atStep(.produced)
                try transaction.mark(inflight.number, of: place, group: group)
            }
            atStep(.committed)
            care.note(.stored, of: inflight.number, group)
            return ExactlyOnceResult(sent.reports.map { .accepted(KafkaOutboxRecord.receipt($0)) })
        } catch {
            isSpent.store(true, ordering: .relaxed)
            guard let error = error as? KafkaError, error.persistence == .notPersisted else {
                let reason = (error as? KafkaError)?.reason ?? "\(error)"
                return ExactlyOnceResult(batch.map { _ in .unknown(reason: reason) })
            }
            let (result, fate) = sent.result(error, markedAt: inflight.topic)
            care.note(fate, of: inflight.number, group)
            return result
        }
    }

    func close() async {
        await producer.close(within: .zero)
    }
}

/// The care that each slot's batches need, by the slot's transactional id. No more of them than there are slots and destinations.
final class KafkaSlotCares: Sendable {
    // Slots are written and taken over by different tasks.
    private let cares = Mutex<[String: KafkaSlotCare]>([:])

    subscript(id: String) -> KafkaSlotCare { cares.withLock { $0[id] ?? KafkaSlotCare() } }

    func note(_ fate: KafkaSlotCare.Fate, of number: Int64, _ id: String) {
        cares.withLock { cares in
            var care = cares[id] ?? KafkaSlotCare()
            care.note(fate, of: number)
            cares[id] = care.isUsual ? nil : care
        }
    }
}
