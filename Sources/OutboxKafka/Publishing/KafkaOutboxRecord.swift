internal import KafkaDelivery
internal import OutboxDelivery

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// A row as a record, and what an error of the producer is to the row.
enum KafkaOutboxRecord {
    static func receipt(_ report: KafkaDeliveryReport) -> OutboxReceipt {
        OutboxReceipt(place: report.topic, partition: report.partition, position: report.offset)
    }

    static func message(_ event: OutboxEvent) -> KafkaMessage {
        let row = event.message
        let created = (event.createdAt.timeIntervalSince1970 * 1_000).rounded(.down)
        var headers: [KafkaHeader] = []
        headers.reserveCapacity(row.headers.count + 3)
        for header in row.headers {
            headers.append(KafkaHeader(header.name, header.value.map { KafkaBytes($0) }))
        }
        headers.append(KafkaHeader(OutboxMessage.idempotencyKeyHeader, row.idempotencyKey))
        headers.append(KafkaHeader("outbox-event-id", String(event.id.slot) + "/" + String(event.id.number)))
        headers.append(KafkaHeader("outbox-created-at", String(Int64(exactly: created) ?? 0)))
        return KafkaMessage(
            topic: row.topic,
            // What is no number is no partition, and refused.
            partition: row.attributes["partition"].map { Int($0) ?? -1 },
            key: row.key,
            value: row.payload,
            headers: KafkaHeaders(headers),
            timestamp: row.attributes["timestamp"].flatMap { Int64($0) }
                .map { KafkaTimestamp(millisecondsSince1970: $0) }
        )
    }

    static func outcome(_ error: KafkaError) -> OutboxOutcome {
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
