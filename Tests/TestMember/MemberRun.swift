import KafkaDelivery
import KafkaDeliveryTesting
import Logging

/// A consumer that does what its plan says, and records it.
final class MemberRun: Sendable {
    struct HandlerFailure: Error {}

    private typealias Delivery = KafkaConsumer.Delivery

    private let plan: MemberPlan
    private let consumer: KafkaConsumer
    private let producer: KafkaProducer
    private let member: DeliveryHistory.Member
    private let events: KafkaConsumer.Events
    private let onAcknowledgement: @Sendable () -> Void

    init(
        _ plan: MemberPlan,
        recorder: DeliveryHistory.Recorder,
        relay: FaultRelay? = nil,
        logger: Logger,
        onAcknowledgement: @escaping @Sendable () -> Void
    ) throws {
        self.plan = plan
        self.onAcknowledgement = onAcknowledgement
        var letters = KafkaProducer.Configuration(bootstrapServers: plan.bootstrapServers)
        var configuration = plan.configuration
        relay?.route(&letters)
        relay?.route(&configuration)
        producer = try KafkaProducer(letters, logger: logger)
        member = recorder.member(
            plan.name,
            order: plan.mode.order,
            maximumAttempts: plan.mode.givesUp ? MemberPlan.maximumAttempts : nil
        )
        consumer = try KafkaConsumer(configuration, logger: logger)
        events = consumer.events
    }

    /// Consumes until the consumer is closed or the task cancelled.
    func run() async throws {
        async let watching: Void = member.watch(events)
        do {
            try await consume()
        } catch  where Task.isCancelled {
        }
        await watching
        await producer.close(within: .seconds(5))
    }

    @discardableResult
    func leave() async -> KafkaCloseSummary {
        await consumer.close(within: .seconds(4))
    }

    func pause() {
        // What goes away meanwhile cannot be paused.
        try? consumer.pause(consumer.assignment)
    }

    func resume() {
        consumer.resume(consumer.assignment)
    }

    private func consume() async throws {
        var retry = KafkaRetryPolicy.exponential(
            initial: .milliseconds(2),
            maximum: .milliseconds(10),
            maximumAttempts: MemberPlan.maximumAttempts
        )
        retry.jitter = 0.5
        let deadLetters = KafkaDeadLetters(producer: producer)
        switch plan.mode {
        case .perPartition:
            try await consumer.forEach(retry: retry, deadLetters: deadLetters, handleAlone)
        case .perKey:
            try await consumer.forEach(
                concurrency: .perKey(maximum: plan.concurrency),
                retry: retry,
                deadLetters: deadLetters,
                handleAlone
            )
        case .unordered:
            try await consumer.forEach(
                concurrency: .unordered(maximum: plan.concurrency),
                retry: retry,
                deadLetters: deadLetters,
                handleAlone
            )
        case .batches:
            try await consumer.forEachBatch(
                maximumCount: plan.concurrency * 2,
                maximumWait: .milliseconds(5),
                retry: retry,
                deadLetters: deadLetters,
                handleBatch
            )
        case .deliveries:
            try await withThrowingDiscardingTaskGroup { group in
                for try await delivery in consumer.deliveries {
                    member.delivered(delivery)
                    group.addTask { await self.settle(delivery) }
                }
            }
        case .partitions:
            try await withThrowingDiscardingTaskGroup { group in
                for try await partition in consumer.partitions {
                    group.addTask {
                        for try await delivery in partition {
                            self.member.delivered(delivery)
                            await self.settle(delivery)
                        }
                    }
                }
            }
        }
    }

    /// Handles one delivery of `forEach`.
    private func handleAlone(_ delivery: KafkaConsumer.Delivery) async throws {
        try await member.handling(delivery) { try await handle(delivery) }
        onAcknowledgement()
    }

    /// Handles one delivery of a loop of its own, and gives it its verdict.
    private func settle(_ delivery: Delivery) async {
        do {
            try await handle(delivery)
            member.acknowledging(delivery)
            delivery.acknowledge()
            onAcknowledgement()
        } catch {
            if Task.isCancelled { return }
            member.failing(delivery)
            delivery.negativelyAcknowledge(error, after: .milliseconds(Int(delivery.offset % 5)))
        }
    }

    /// Handles a batch. Some get their verdicts by hand, of either kind; the rest gets that of the batch.
    private func handleBatch(_ batch: [KafkaConsumer.Delivery]) async throws {
        for delivery in batch { member.delivered(delivery) }
        var rest: [Delivery] = []
        var failure: (any Error)?
        for delivery in batch {
            let isByHand = delivery.offset % 3 == 0
            do {
                try await handle(delivery)
                if isByHand {
                    member.acknowledging(delivery)
                    delivery.acknowledge()
                } else {
                    rest.append(delivery)
                }
                onAcknowledgement()
            } catch {
                if Task.isCancelled { throw error }
                if isByHand, delivery.attempt < MemberPlan.maximumAttempts {
                    member.failing(delivery)
                    delivery.negativelyAcknowledge(error, after: .milliseconds(1))
                } else {
                    failure = error
                    rest.append(delivery)
                }
            }
        }
        for delivery in rest {
            if failure == nil { member.acknowledging(delivery) } else { member.failing(delivery) }
        }
        if let failure { throw failure }
    }

    /// The work itself.
    private func handle(_ delivery: Delivery) async throws {
        switch Fate(of: delivery.value?.string ?? "", seed: plan.seed) {
        case .takes(let milliseconds):
            try await Task.sleep(for: .milliseconds(milliseconds))
        case .fails(let times) where delivery.attempt <= times:
            throw HandlerFailure()
        case .poisonous where plan.mode.givesUp || delivery.attempt < MemberPlan.maximumAttempts:
            throw HandlerFailure()
        case .hangs where plan.mayHang:
            try await Task.sleep(for: .seconds(86_400))
        case .succeeds, .fails, .poisonous, .hangs:
            await Task.yield()
        }
    }
}
