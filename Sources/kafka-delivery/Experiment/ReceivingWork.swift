import KafkaDelivery
import KafkaDeliveryTesting
import Synchronization
import ToolSupport

/// What an ``ExperimentWorker`` does as a member of a group, as an application would: through the network of its profile.
struct ReceivingWork {
    let worker: ExperimentWorker
    let servers: [String]

    private let relay: FaultRelay

    init(worker: ExperimentWorker, servers: [String]) throws {
        self.worker = worker
        self.servers = servers
        self.relay = try FaultRelay(seed: worker.seed)
    }

    private func configuration() throws -> KafkaConsumer.Configuration {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: servers,
            group: worker.name,
            topics: [worker.topic]
        )
        // Where the cluster knows static members, the next process has the partition at once. A mock cluster does not, and
        // lets it wait for as long as the session of the one that was killed.
        configuration.groupInstanceID = worker.name
        // Half of it is asked for at a time.
        configuration.prefetch.maximumBytes = 2 * ExperimentProfile.fetchBytes
        configuration.sessionTimeout = .milliseconds(worker.sessionMilliseconds)
        configuration.heartbeatInterval = .milliseconds(500)
        configuration.additionalProperties = ["reconnect.backoff.ms": "10", "reconnect.backoff.max.ms": "50"]
        for property in worker.client.properties where try !configuration.take(property) {
            configuration.additionalProperties[property.name] = property.value
        }
        relay.route(&configuration)
        return configuration
    }

    /// Faults begin with the first message: joining is not what is shown.
    private func begin() {
        ExperimentWorker.say(.begin)
        relay.faults = worker.profile.receivingFaults(messages: worker.messages)
    }

    // MARK: Committing before or after

    func handle() async throws {
        try await withKafkaConsumer(configuration(), logger: worker.client.logger) { consumer in
            var batch: [KafkaConsumer.Delivery] = []
            var handled = 0
            for try await delivery in consumer.deliveries {
                if handled == 0, batch.isEmpty { begin() }
                batch.append(delivery)
                let isLast = delivery.number == worker.messages - 1
                guard batch.count == Experiment.batchCount || isLast else { continue }
                defer { batch = [] }
                if worker.mode == .commitBefore, try await !commit(batch, consumer) { continue }
                for delivery in batch {
                    ExperimentWorker.say(.handled(delivery.number))
                    handled += 1
                    if handled == worker.diesAfter { ExperimentWorker.die(relay) }
                }
                if worker.mode == .commitAfter, try await !commit(batch, consumer) { continue }
                if isLast { break }
            }
            relay.faults = .init()
        }
        ExperimentWorker.say(ExperimentWorker.faults([relay]))
    }

    /// - Returns: False where the partition went away meanwhile: then its messages come again from where the group is.
    private func commit(_ batch: [KafkaConsumer.Delivery], _ consumer: KafkaConsumer) async throws -> Bool {
        let start = ContinuousClock.now
        for delivery in batch { delivery.acknowledge() }
        while true {
            do throws(KafkaError) {
                try await consumer.commit()
                ExperimentWorker.say(.acknowledged(nanoseconds: start.nanosecondsUntilNow))
                return true
            } catch {
                if error.kind == .assignmentEnded { return false }
                guard error.recovery == .retry else { throw error }
            }
        }
    }

    // MARK: Transactions

    /// What the tasks of a transformation share.
    private final class Progress: Sendable {
        let count = Atomic(0)
    }

    /// Copies numbers from one topic to the other, with the offsets in the transaction.
    func transform() async throws {
        let logger = worker.client.logger
        let sending = try FaultRelay(seed: worker.seed &+ 1)
        let producing = try worker.transactionalProducer(servers, through: sending)
        try await withKafkaTransactionalProducer(producing, logger: logger) { producer in
            try await withKafkaConsumer(configuration(), logger: logger) { consumer in
                // Ends what a process before this one left open.
                try await producer.initialize()
                let (ends, end) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
                let progress = Progress()
                async let closing: Void = close(consumer, after: ends)
                try await consumer.transform(through: producer, maximumCount: Experiment.batchCount) { delivery in
                    let count = progress.count.wrappingAdd(1, ordering: .relaxed).newValue
                    if count == 1 {
                        begin()
                        sending.faults = worker.profile.faults(messages: worker.messages)
                    }
                    ExperimentWorker.say(.handled(delivery.number))
                    if count == worker.diesAfter { worker.dieSoon(relay, sending) }
                    if delivery.number == worker.messages - 1 { end.yield() }
                    return [ExperimentSender.message(delivery.number, worker.output)]
                }
                try await closing
            }
        }
        ExperimentWorker.say(ExperimentWorker.faults([relay, sending]))
    }

    /// Closes the consumer, which ends its transformation, when the last message is committed.
    private func close(_ consumer: KafkaConsumer, after ends: AsyncStream<Void>) async throws {
        for await _ in ends { break }
        let partition = KafkaTopicPartition(topic: worker.topic, partition: 0)
        while await (try? consumer.committed([partition]))?[partition] != Int64(worker.messages) {
            // A transaction does not say when it is committed; its group does, when it is asked.
            try await Task.sleep(for: .milliseconds(20))
        }
        relay.faults = .init()
        await consumer.close()
    }
}

extension ContinuousClock.Instant {
    /// How long it is since then.
    var nanosecondsUntilNow: Int64 { Int64(duration(to: .now) / .nanoseconds(1)) }
}
