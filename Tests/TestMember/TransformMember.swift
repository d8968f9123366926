import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import Synchronization

/// Copies a topic in transactions, as its plan says, and records what it is given. An output says of which message it is:
/// `PARTITION@OFFSET:VALUE`.
final class TransformMember: Sendable {
    struct TransformationFailure: Error {}

    private let plan: TransformPlan
    private let member: DeliveryHistory.Member
    private let relay: FaultRelay
    private let consumer: KafkaConsumer
    private let producer: KafkaTransactionalProducer
    private let count = Atomic(0)
    private let onMessage: @Sendable () -> Void

    init(
        _ plan: TransformPlan,
        recorder: DeliveryHistory.Recorder,
        logger: Logger,
        onMessage: @escaping @Sendable () -> Void
    ) throws {
        self.plan = plan
        self.onMessage = onMessage
        member = recorder.member(plan.process, order: .none)
        relay = try FaultRelay(seed: plan.seed)
        var configuration = plan.producer
        relay.route(&configuration)
        producer = try KafkaTransactionalProducer(configuration, logger: logger)
        consumer = try KafkaConsumer(plan.consumer, logger: logger)
    }

    /// Consumes until the consumer is closed.
    func run() async throws {
        try await initialize()
        if plan.isNetworkBad {
            relay.faults.responseLoss = .init(probability: 0.05, kinds: [])
            relay.faults.requests.meanBytesBetweenCuts = 5_000
        }
        try await consumer.transform(
            through: producer,
            maximumCount: plan.maximumCount,
            maximumWait: .milliseconds(5),
            retry: .fixed(.milliseconds(5), maximumAttempts: nil)
        ) { [self] delivery in
            member.transforming(delivery)
            onMessage()
            countUp()
            let fails = Int(delivery.offset) % 100 < plan.failurePercent
            if fails, delivery.attempt == 1 { throw TransformationFailure() }
            let value = "\(delivery.partition)@\(delivery.offset):\(delivery.value?.string ?? "")"
            return [KafkaMessage(topic: plan.output, key: delivery.key, value: KafkaBytes(value))]
        }
        relay.faults = .init()
        await producer.close(within: .seconds(10))
    }

    /// Which also ends what the process before it left open.
    private func initialize() async throws {
        while true {
            do {
                return try await producer.initialize()
            } catch  where error.recovery == .retry {
                // A cluster that has only just begun takes longer for its first transactional producers than one attempt has.
            }
        }
    }

    func leave() async {
        await consumer.close(within: .seconds(10))
    }

    private func countUp() {
        let number = count.wrappingAdd(1, ordering: .relaxed).newValue
        switch plan.end {
        case .death(let after, let microseconds) where number == after:
            DispatchQueue.global().asyncAfter(deadline: .now() + .microseconds(microseconds)) {
                // As a machine without power ends: nothing is flushed, and nobody is told.
                kill(getpid(), SIGKILL)
            }
        case .leave(let after) where number == after:
            Task { await leave() }
        default: break
        }
    }
}
