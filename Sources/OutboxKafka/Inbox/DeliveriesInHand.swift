internal import KafkaDelivery
internal import Synchronization

/// What the handlers of an inbox's loop have, of each partition at most one batch.
final class DeliveriesInHand: Sendable {
    // The partitions' tasks, and the one of the loop when they have ended.
    private let deliveries = Mutex<[KafkaTopicPartition: [KafkaConsumer.Delivery]]>([:])

    /// A handler gets them; what its partition's last one had has its verdict.
    func take(_ new: [KafkaConsumer.Delivery]) {
        guard let first = new.first else { return }
        let last = deliveries.withLock { $0.updateValue(new, forKey: first.topicPartition) }
        // Let go of outside of the lock: each may be the owner of a C object.
        _ = consume last
    }

    /// They have their verdict, or will have none.
    func letGo(of old: [KafkaConsumer.Delivery]) {
        guard let first = old.first else { return }
        let last = deliveries.withLock { $0.removeValue(forKey: first.topicPartition) }
        _ = consume last
    }

    /// Hands back what has no verdict: it is handed out again, before anything later of its partition, and that was no attempt.
    func handBack() {
        let all = deliveries.withLock { deliveries in
            defer { deliveries = [:] }
            return deliveries
        }
        for delivery in all.values.joined() where delivery.settlement == nil && delivery.isCurrent {
            _ = delivery.postpone(for: .zero, holdingOthers: true)
        }
    }
}
