import KafkaDelivery
import Logging
import Synchronization
import ToolSupport

/// What a group has not read yet of the partitions that are not ours: another member's, one's that was killed and keeps them
/// until its session has run out, or no member's.
///
/// The group tells no member how far the others are. What it has committed is all that shows, and so it is compared with where
/// the partitions end.
struct GroupRest: Sendable {
    let consumer: KafkaConsumer
    let configuration: KafkaConsumer.Configuration
    let logger: Logger

    /// What is left, and how many offsets of each.
    typealias Unread = [KafkaTopicPartition: Int64]

    /// - Parameters:
    ///   - finished: What does not have to be asked for.
    ///   - before: What this said the last time.
    func unread(beside finished: Set<KafkaTopicPartition>, before: Unread) async throws(KafkaError) -> Unread {
        let others = try await consumer.partitionsOfTopics(within: Self.patience).filter { !finished.contains($0) }
        guard !others.isEmpty else { return [:] }
        let committed = try await consumer.committed(others, within: Self.patience)
        let bounds = try await consumer.watermarks(of: others, within: Self.patience)
        var unread: Unread = [:]
        for (partition, bounds) in bounds {
            // Where a new group begins at the end there is nothing to be read of what was there before.
            let start = configuration.autoOffsetReset == .end ? bounds.end : bounds.beginning
            let count = bounds.end - (committed[partition] ?? start)
            if count > 0 { unread[partition] = count }
        }
        // What does not change may be the control records of transactions, which are no messages and are never committed.
        let still = unread.filter { before[$0.key] == $0.value }.map(\.key)
        for partition in await withoutMessages(still) { unread[partition] = nil }
        return unread
    }

    private static let patience = Duration.seconds(10)

    /// Those of the partitions that have no message behind what is committed. Read without being a member, and not acknowledged:
    /// the group notices nothing of it.
    private func withoutMessages(_ partitions: [KafkaTopicPartition]) async -> Set<KafkaTopicPartition> {
        guard !partitions.isEmpty else { return [] }
        var probe = configuration
        probe.topics = []
        probe.partitions = partitions
        probe.start = .committed
        probe.groupInstanceID = nil
        // One message of each partition says enough.
        probe.maximumUnsettledPerPartition = 1
        probe.prefetch = .init(maximumMessages: 1, maximumBytes: 1 << 16)
        guard let reader = try? KafkaConsumer(probe, logger: logger) else { return [] }
        let findings = Findings(partitions)
        let events = reader.events
        await withTaskGroup { group in
            group.addTask {
                do {
                    for try await delivery in reader.deliveries {
                        let partition = KafkaTopicPartition(topic: delivery.topic, partition: delivery.partition)
                        if findings.note(partition, isEmpty: false) { return }
                    }
                } catch {
                    // What could not be looked at counts as unread.
                }
            }
            group.addTask {
                for await event in events {
                    if case .caughtUp(let partition, _) = event, findings.note(partition, isEmpty: true) { return }
                }
            }
            // Time is what is waited for: a broker that is away says nothing.
            group.addTask { try? await Task.sleep(for: Self.patience) }
            await group.next()
            group.cancelAll()
        }
        await reader.close(within: .seconds(2))
        return findings.empty
    }

    /// What is known of partitions: whether there is a message in them or their end comes first.
    private final class Findings: Sendable {
        // Both tasks that look at the reader note what they see.
        private let state: Mutex<(open: Set<KafkaTopicPartition>, empty: Set<KafkaTopicPartition>)>

        init(_ partitions: [KafkaTopicPartition]) {
            state = Mutex((Set(partitions), []))
        }

        var empty: Set<KafkaTopicPartition> { state.withLock { $0.empty } }

        /// - Returns: Whether all is known. What was noted first counts.
        func note(_ partition: KafkaTopicPartition, isEmpty: Bool) -> Bool {
            state.withLock { state in
                if state.open.remove(partition) != nil, isEmpty { state.empty.insert(partition) }
                return state.open.isEmpty
            }
        }
    }
}
