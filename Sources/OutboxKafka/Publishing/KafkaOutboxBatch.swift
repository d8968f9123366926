internal import KafkaDelivery
internal import OutboxDelivery

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// One batch on its way through a producer.
struct KafkaOutboxBatch {
    /// What has to be done beside taking note of the outcomes.
    struct Trouble {
        /// The producer goes on no more.
        var isProducerDone = false
        /// Refused with the batch that they travelled in, for another one's fault perhaps.
        var refusedTogether: Set<Int> = []
    }

    private let events: [OutboxEvent]

    init(_ events: [OutboxEvent]) {
        self.events = events
    }

    /// Sends all of them, and waits for their reports. Behind an event that the producer does not take none with its key is sent.
    func send(through producer: KafkaProducer) async -> ([OutboxOutcome], Trouble) {
        var sends: [Result<KafkaProducer.PendingDelivery, KafkaError>?] = []
        sends.reserveCapacity(events.count)
        var stopped: Set<[UInt8]> = []
        for event in events {
            if let key = event.message.key, !stopped.isEmpty, stopped.contains(key) {
                sends.append(nil)
                continue
            }
            do throws(KafkaError) {
                sends.append(.success(try await producer.enqueue(Self.message(event))))
            } catch {
                sends.append(.failure(error))
                if let key = event.message.key { stopped.insert(key) }
            }
        }
        var trouble = Trouble()
        var outcomes: [OutboxOutcome] = []
        outcomes.reserveCapacity(events.count)
        for (index, send) in sends.enumerated() {
            do throws(KafkaError) {
                guard let send else {
                    outcomes.append(.unavailable(reason: "one with its key that comes before it is not stored"))
                    continue
                }
                let report = try await send.get().report
                outcomes.append(
                    .accepted(OutboxReceipt(place: report.topic, partition: report.partition, position: report.offset))
                )
            } catch {
                if error.recovery == .recreateClient, error.kind != .closed { trouble.isProducerDone = true }
                if error.kind == .batchRefused { trouble.refusedTogether.insert(index) }
                outcomes.append(Self.outcome(error))
            }
        }
        return (outcomes, trouble)
    }

    private static func message(_ event: OutboxEvent) -> KafkaMessage {
        let row = event.message
        var headers = KafkaHeaders(row.headers.map { KafkaHeader($0.name, $0.value.map { KafkaBytes($0) }) })
        headers.append(KafkaHeader(OutboxMessage.idempotencyKeyHeader, row.idempotencyKey))
        headers.append(KafkaHeader("outbox-event-id", "\(event.id.slot)/\(event.id.number)"))
        let created = (event.createdAt.timeIntervalSince1970 * 1_000).rounded(.down)
        headers.append(KafkaHeader("outbox-created-at", "\(Int64(exactly: created) ?? 0)"))
        return KafkaMessage(
            topic: row.topic,
            // What is no number is no partition, and refused.
            partition: row.attributes["partition"].map { Int($0) ?? -1 },
            key: row.key,
            value: row.payload,
            headers: headers,
            timestamp: row.attributes["timestamp"].flatMap { Int64($0) }
                .map { KafkaTimestamp(millisecondsSince1970: $0) }
        )
    }

    private static func outcome(_ error: KafkaError) -> OutboxOutcome {
        if error.persistence == .possiblyPersisted { return .unknown(reason: error.reason) }
        switch error.kind {
        case .unknownTopicOrPartition, .authorization: return .unroutable(reason: error.reason)
        case .brokersUnreachable, .timedOut, .closed, .cancelled, .authentication, .fatal, .batchRefused:
            return .unavailable(reason: error.reason)
        default: break
        }
        switch error.recovery {
        case .fixRequest: return .rejected(reason: error.reason, isRetriable: false)
        case .retry, .recreateClient, .abortTransaction: return .unavailable(reason: error.reason)
        }
    }
}
