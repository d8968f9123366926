internal import KafkaDelivery
internal import OutboxDelivery
internal import Synchronization

/// One taking over of a slot at Kafka: a transactional producer that was initialised for it.
///
/// Initialising fences whoever had the slot before, so it happens once, before the publisher notes a batch in the database as the
/// slot's owner. A producer that initialised itself anew later, to go on after a failure, would fence whoever owns the slot by then.
/// So after a batch that was not stored this one sends no other.
///
/// One thing it does all the same then: where records were refused only together it looks for the one at fault, in a transaction that is
/// aborted in any case. Its producer is initialised anew for that where the refusal left a gap in its sequences, which fences an owner
/// that took the slot over meanwhile. That owner's batch is aborted then, and it takes the slot over again: that costs time, and loses and
/// repeats nothing, for nothing is committed here.
final class KafkaSlotWriter: ExactlyOnceWriter {
    let lastNumber: Int64
    private let producer: KafkaTransactionalProducer
    private let group: String
    private let atStep: @Sendable (KafkaExactlyOnceDestination.Configuration.Step) -> Void
    // The publisher sends one batch at a time; the tasks it does that in differ.
    private let isSpent = Atomic(false)

    init(
        _ producer: KafkaTransactionalProducer,
        group: String,
        lastNumber: Int64,
        atStep: @escaping @Sendable (KafkaExactlyOnceDestination.Configuration.Step) -> Void
    ) {
        self.producer = producer
        self.group = group
        self.lastNumber = lastNumber
        self.atStep = atStep
    }

    func publish(_ batch: [OutboxEvent], as inflight: OutboxInflight) async -> [OutboxOutcome] {
        guard !isSpent.load(ordering: .relaxed) else {
            return batch.map { _ in .unavailable(reason: "its slot has to be taken over first") }
        }
        let records = batch.map(KafkaOutboxRecord.message)
        let place = KafkaTopicPartition(topic: inflight.topic, partition: 0)
        var results: [Result<KafkaDeliveryReport, KafkaError>] = []
        do {
            try await producer.withTransaction { transaction in
                results = await transaction.send(contentsOf: records)
                for result in results { _ = try result.get() }
                atStep(.produced)
                try transaction.mark(inflight.number, of: place, group: group)
            }
            atStep(.committed)
            return results.map { result in
                switch result {
                case .success(let report): .accepted(KafkaOutboxRecord.receipt(report))
                case .failure(let error): KafkaOutboxRecord.outcome(error)
                }
            }
        } catch {
            isSpent.store(true, ordering: .relaxed)
            guard let error = error as? KafkaError, error.persistence == .notPersisted else {
                return batch.map { _ in .unknown(reason: (error as? KafkaError)?.reason ?? "\(error)") }
            }
            return await outcomes(of: batch, records, results, error)
        }
    }

    /// The outcomes of a batch of which nothing is stored.
    private func outcomes(
        of batch: [OutboxEvent],
        _ records: [KafkaMessage],
        _ results: [Result<KafkaDeliveryReport, KafkaError>],
        _ error: KafkaError
    ) async -> [OutboxOutcome] {
        var outcomes = batch.map { _ in OutboxOutcome.unavailable(reason: error.reason) }
        var refusedTogether: [Int] = []
        var isFound = false
        for (index, result) in results.enumerated() {
            guard case .failure(let failure) = result else { continue }
            if failure.kind == .batchRefused {
                refusedTogether.append(index)
            } else if let verdict = Self.verdict(failure) {
                outcomes[index] = verdict
                isFound = true
            }
        }
        if !isFound, !refusedTogether.isEmpty, let (index, verdict) = await culprit(refusedTogether, records) {
            outcomes[index] = verdict
        }
        return outcomes
    }

    /// Sends records one after the other, in a transaction that is aborted, until one is refused by itself.
    private func culprit(_ indices: [Int], _ records: [KafkaMessage]) async -> (Int, OutboxOutcome)? {
        struct Over: Error {}
        var found: (Int, OutboxOutcome)?
        _ = try? await producer.withTransaction { transaction in
            for index in indices {
                do throws(KafkaError) {
                    try await transaction.send(records[index])
                } catch {
                    found = Self.verdict(error).map { (index, $0) }
                    break
                }
            }
            throw Over()
        }
        return found
    }

    /// What an error says about the record itself; nil where it is not about that.
    private static func verdict(_ error: KafkaError) -> OutboxOutcome? {
        switch KafkaOutboxRecord.outcome(error) {
        case .rejected(let reason, let isRetriable, let after):
            .rejected(reason: reason, isRetriable: isRetriable, retryAfter: after)
        case .unroutable(let reason): .unroutable(reason: reason)
        case .accepted, .unknown, .unavailable: nil
        }
    }

    func close() async {
        await producer.close(within: .zero)
    }
}
