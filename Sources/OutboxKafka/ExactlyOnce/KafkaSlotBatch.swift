internal import KafkaDelivery
internal import OutboxDelivery

/// One batch of a slot on its way through one transaction, and what its errors say of its records.
struct KafkaSlotBatch {
    private let records: [KafkaMessage]
    /// As far as they were sent.
    private var results: [Result<KafkaDeliveryReport, KafkaError>] = []
    /// Why the transaction failed, where librdkafka let go of its records for that.
    private var failureOfTransaction: KafkaError?
    private var isOneByOne = false
    private var tookTooLong = false
    private let timeout: Duration
    private let begun = ContinuousClock.now

    /// - Parameter timeout: How long its transaction may take until the coordinator aborts it.
    init(_ records: [KafkaMessage], timeout: Duration) {
        self.records = records
        self.timeout = timeout
    }

    /// Where the records are, once all are stored.
    var reports: [KafkaDeliveryReport] { results.compactMap { try? $0.get() } }

    /// The first error; nil where all records are stored.
    var failure: KafkaError? {
        if tookTooLong {
            return KafkaError(
                .timedOut,
                persistence: .notPersisted,
                recovery: .retry,
                reason: "its records took too long, one after the other, for one transaction"
            )
        }
        for result in results {
            if case .failure(let error) = result { return error }
        }
        return nil
    }

    mutating func sendTogether(in transaction: KafkaTransactionalProducer.Transaction) async {
        results = await transaction.send(contentsOf: records)
        await findReason(in: transaction)
    }

    /// One after the other, up to the first that fails, and for no longer than half the time that the transaction has.
    mutating func sendOneByOne(in transaction: KafkaTransactionalProducer.Transaction) async {
        isOneByOne = true
        for record in records {
            if age >= timeout / 2 {
                tookTooLong = true
                return
            }
            do throws(KafkaError) {
                results.append(.success(try await transaction.send(record)))
            } catch {
                results.append(.failure(error))
                break
            }
        }
        await findReason(in: transaction)
    }

    private mutating func findReason(in transaction: KafkaTransactionalProducer.Transaction) async {
        if let failure, failure.recovery == .abortTransaction, failure.kind == .client {
            failureOfTransaction = await transaction.failure()
        }
    }

    /// What became of a batch of which nothing is stored.
    ///
    /// - Parameters:
    ///   - error: The transaction's.
    ///   - topic: The one that the batch's number was to be kept at.
    func result(_ error: KafkaError, markedAt topic: String) -> (ExactlyOnceResult, KafkaSlotCare.Fate) {
        let why = failureOfTransaction ?? error
        var outcomes = records.map { _ in OutboxOutcome.unavailable(reason: why.reason) }
        var first: Int?
        var areRefusedTogether = false
        for (index, result) in results.enumerated() {
            guard case .failure(let failure) = result else { continue }
            if failure.kind == .batchRefused {
                areRefusedTogether = true
            } else if let verdict = Self.verdict(failure) {
                outcomes[index] = verdict
                first = first ?? index
            }
        }
        if first == nil, let name = topicAtFault(why, topic) {
            // A right is a whole topic's.
            for (index, record) in records.enumerated() where record.topic == name {
                outcomes[index] = .unroutable(reason: why.reason)
                first = first ?? index
            }
        }
        if let first { return (ExactlyOnceResult(outcomes), .culprit(at: first)) }
        if tookTooLong || isOfAge { return (ExactlyOnceResult(outcomes, isFaultOfBatch: true), .tookTooLong) }
        if areRefusedTogether || isOfRight(why) {
            return (ExactlyOnceResult(outcomes, isFaultOfBatch: true), .refusedTogether)
        }
        return (ExactlyOnceResult(outcomes), .failed)
    }

    /// The topic that the transaction failed for, where that is known: brokers refuse to add a topic to a transaction, or to keep the number
    /// at it, and librdkafka does not say which topic it was.
    private func topicAtFault(_ error: KafkaError, _ marked: String) -> String? {
        guard isOfRight(error) else { return nil }
        // All records are stored: what failed is the number.
        if failure == nil { return marked }
        if isOneByOne { return results.indices.last.map { records[$0].topic } }
        return Set(records.map(\.topic)).count == 1 ? records.first?.topic : nil
    }

    private func isOfRight(_ error: KafkaError) -> Bool { error.code == "TOPIC_AUTHORIZATION_FAILED" }

    private var age: Duration { begun.duration(to: .now) }

    /// The coordinator has aborted the transaction because of its age, or would have, and the brokers are there: they stored some of it.
    private var isOfAge: Bool { age >= timeout && !reports.isEmpty }

    /// What an error says about the record itself; nil where it is not about that.
    private static func verdict(_ error: KafkaError) -> OutboxOutcome? {
        switch KafkaOutboxRecord.outcome(error) {
        case .rejected(let reason, let isRetriable, let after):
            .rejected(reason: reason, isRetriable: isRetriable, retryAfter: after)
        case .unroutable(let reason): .unroutable(reason: reason)
        case .accepted, .unknown, .unavailable: nil
        }
    }
}
