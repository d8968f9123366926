import Dispatch
import KafkaDelivery
import KafkaDeliveryTesting

/// What an ``ExperimentWorker`` does in transactions.
struct TransactionalWork {
    /// A transaction that is to be aborted.
    private struct Abort: Error {}

    /// One transaction in so many is aborted on purpose.
    private static let abortsOneIn = 10

    /// How much a consumer sends between two cuts: some hundred fetches.
    private static let bytesBetweenCuts = 30_000

    let worker: ExperimentWorker
    let servers: [String]

    private let relay: FaultRelay
    private let reader: ExperimentReader

    init(worker: ExperimentWorker, servers: [String]) throws {
        self.worker = worker
        self.servers = servers
        self.relay = try FaultRelay(seed: worker.seed)
        let properties = worker.client.properties
        self.reader = ExperimentReader(
            servers: servers,
            properties: { configuration in
                configuration.additionalProperties = try properties.applied {
                    property throws(ToolFailure) in try configuration.take(property)
                }
            },
            logger: worker.client.logger
        )
    }

    /// Sends the numbers that are not in the topic, in transactions. The topic itself is what remembers where a process that
    /// was killed had come to: what it says is committed as a whole.
    func send() async throws {
        try await withKafkaTransactionalProducer(producer(), logger: worker.client.logger) { producer in
            // Ends what a process before this one left open, so that the reader is not held up by it.
            try await producer.initialize()
            relay.faults = worker.profile.faults(messages: worker.messages)
            var next = try await nextNumber(in: worker.output)
            var count = 0
            var transactions = 0
            while next < worker.messages {
                let numbers = next...min(next + Experiment.batchCount, worker.messages) - 1
                transactions += 1
                let aborts = transactions.isMultiple(of: Self.abortsOneIn)
                let isKnown = try await attempt(numbers, producer) { transaction in
                    for number in numbers { try await send(number, in: transaction, &count) }
                    if aborts { throw Abort() }
                }
                switch isKnown {
                case true?: next = numbers.upperBound + 1
                case false?: break
                case nil: next = try await nextNumber(in: worker.output)
                }
            }
        }
    }

    /// Copies numbers from one topic to the other, with the offsets in the transaction.
    func transform() async throws {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: servers,
            group: worker.name,
            topics: [worker.topic]
        )
        try reader.properties(&configuration)
        // A member that was killed is missed after this time, and brokers allow no less.
        configuration.additionalProperties["session.timeout.ms"] = "6000"
        // A consumer asks for messages all the time, so its connections are cut by the bytes it asks with, and rarely.
        let consuming = try FaultRelay(seed: worker.seed &+ 1)
        consuming.route(&configuration)
        let logger = worker.client.logger
        try await withKafkaConsumer(configuration, logger: logger) { consumer in
            try await withKafkaTransactionalProducer(producer(), logger: logger) { producer in
                try await producer.initialize()
                relay.faults = worker.profile.faults(messages: worker.messages)
                if worker.profile != .calm { consuming.faults.requests.meanBytesBetweenCuts = Self.bytesBetweenCuts }
                try await copy(from: consumer, with: producer)
            }
        }
    }

    private func copy(from consumer: KafkaConsumer, with producer: KafkaTransactionalProducer) async throws {
        var batch: [KafkaConsumer.Delivery] = []
        var count = 0
        for try await delivery in consumer.deliveries {
            batch.append(delivery)
            let isLast = delivery.number == worker.messages - 1
            guard let first = batch.first, batch.count == Experiment.batchCount || isLast else { continue }
            let deliveries = batch
            batch = []
            let numbers = min(first.number, delivery.number)...max(first.number, delivery.number)
            let isKnown = try await attempt(numbers, producer) { transaction in
                for delivery in deliveries { try await send(delivery.number, in: transaction, &count) }
                try transaction.acknowledge(deliveries, from: consumer)
            }
            guard isLast else { continue }
            if isKnown == true { break }
            if isKnown == nil, try await nextNumber(in: worker.output) == worker.messages { break }
        }
    }

    private func producer() throws -> KafkaTransactionalProducer.Configuration {
        var configuration = KafkaTransactionalProducer.Configuration(
            transactionalID: worker.name,
            bootstrapServers: servers
        )
        ExperimentSender.prepare(&configuration.producer)
        configuration.producer.messageTimeout = .seconds(30)
        let properties = worker.client.properties
        for property in properties where try !configuration.producer.take(property) {
            configuration.producer.additionalProperties[property.name] = property.value
        }
        relay.route(&configuration)
        return configuration
    }

    private func send(
        _ number: Int,
        in transaction: KafkaTransactionalProducer.Transaction,
        _ count: inout Int
    ) async throws {
        try await transaction.send(ExperimentSender.message(number, worker.output))
        count += 1
        guard count == worker.diesAfter else { return }
        // Some time in this transaction, or in its commit, or after it: that is what it has to survive.
        var generator = SeededGenerator(seed: worker.seed)
        let time = Int.random(in: 0..<20_000, using: &generator)
        DispatchQueue.global().asyncAfter(deadline: .now() + .microseconds(time)) { ExperimentWorker.die() }
    }

    /// - Returns: Whether the transaction was committed; nil where nobody knows.
    private func attempt(
        _ numbers: ClosedRange<Int>,
        _ producer: KafkaTransactionalProducer,
        _ body: (KafkaTransactionalProducer.Transaction) async throws -> Void
    ) async throws -> Bool? {
        let start = ContinuousClock.now
        do {
            try await producer.withTransaction { try await body($0) }
            let nanoseconds = Int64(start.duration(to: .now) / .nanoseconds(1))
            ExperimentWorker.say(.committed(numbers, nanoseconds: nanoseconds))
            return true
        } catch is Abort {
            ExperimentWorker.say(.aborted)
            return false
        } catch let error as KafkaError {
            let isUnknown = error.persistence == .possiblyPersisted
            ExperimentWorker.say(isUnknown ? .unknown(numbers) : .aborted)
            switch error.recovery {
            case .recreateClient: try await producer.recreate()
            case .fixRequest: throw error
            case .retry, .abortTransaction: try await producer.initialize()
            }
            return isUnknown ? nil : false
        }
    }

    private func nextNumber(in topic: String) async throws -> Int {
        (try await reader.numbers(in: topic).max() ?? -1) + 1
    }
}
