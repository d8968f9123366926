import KafkaDelivery
import KafkaDeliveryTesting
import ToolSupport

/// What an ``ExperimentWorker`` does that sends in transactions.
struct TransactionalWork {
    /// A transaction that is to be aborted.
    private struct Abort: Error {}

    /// One transaction in so many is aborted on purpose.
    private static let abortsOneIn = 10

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
        let configuration = try worker.transactionalProducer(servers, through: relay)
        try await withKafkaTransactionalProducer(configuration, logger: worker.client.logger) { producer in
            // Ends what a process before this one left open, so that the reader is not held up by it.
            try await producer.initialize()
            relay.faults = worker.profile.faults(messages: worker.messages)
            var next = try await nextNumber(in: worker.output)
            ExperimentWorker.say(.begin)
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
            ExperimentWorker.say(ExperimentWorker.faults([relay]))
        }
    }

    private func send(
        _ number: Int,
        in transaction: KafkaTransactionalProducer.Transaction,
        _ count: inout Int
    ) async throws {
        try await transaction.enqueue(ExperimentSender.message(number, worker.output))
        count += 1
        if count == worker.diesAfter { worker.dieSoon(relay) }
    }

    /// - Returns: Whether the transaction was committed; nil where it is unknown.
    private func attempt(
        _ numbers: ClosedRange<Int>,
        _ producer: KafkaTransactionalProducer,
        _ body: (KafkaTransactionalProducer.Transaction) async throws -> Void
    ) async throws -> Bool? {
        let start = ContinuousClock.now
        do {
            try await producer.withTransaction { try await body($0) }
            ExperimentWorker.say(.committed(numbers, nanoseconds: start.nanosecondsUntilNow))
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
