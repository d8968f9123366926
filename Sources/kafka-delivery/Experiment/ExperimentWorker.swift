import ArgumentParser
import Dispatch
import Foundation
import KafkaDelivery
import KafkaDeliveryTesting

/// What an experiment runs in a process of its own, so that it can be killed. It tells the experiment what it did, a line
/// each: see ``Line``.
struct ExperimentWorker: AsyncParsableCommand {
    static let commandName = "experiment-worker"

    static let configuration = CommandConfiguration(
        commandName: commandName,
        abstract: "Part of experiment; not for use by itself.",
        shouldDisplay: false
    )

    /// What the worker has done. It is written at once, and stays written when the worker is killed.
    enum Line: Equatable {
        /// A message took effect.
        case handled(Int)
        /// A transaction with these messages was committed, and took so many nanoseconds.
        case committed(ClosedRange<Int>, nanoseconds: Int64)
        /// A transaction was aborted.
        case aborted
        /// It is not known what became of a transaction with these messages.
        case unknown(ClosedRange<Int>)
        /// All is done.
        case end
    }

    @Option var mode: ExperimentMode
    @Option var bootstrapServers: String
    @Option var topic: String
    @Option var output: String
    /// The group, and the transactional id.
    @Option var name: String
    @Option var messages: Int
    @Option var profile: ExperimentProfile
    @Option var seed: UInt64
    /// After how many messages this process kills itself.
    @Option var diesAfter: Int?
    @OptionGroup var client: ClientOptions

    func run() async throws {
        endWithParent()
        let servers = try ClusterOptions.servers(in: bootstrapServers)
        switch mode {
        case .commitBefore, .commitAfter: try await handle(servers)
        case .transactional: try await TransactionalWork(worker: self, servers: servers).send()
        case .transform: try await TransactionalWork(worker: self, servers: servers).transform()
        case .atMostOnce, .atLeastOnce, .idempotent: throw ToolFailure("\(mode.rawValue) needs no process of its own")
        }
        Self.say(.end)
    }

    static func say(_ line: Line) {
        let text = Array("\(line)\n".utf8)
        _ = text.withUnsafeBytes { systemWrite(STDOUT_FILENO, $0.baseAddress, $0.count) }
    }

    /// The experiment holds the other end of standard input, which closes when it ends, however it does.
    private func endWithParent() {
        Thread.detachNewThread {
            var byte: UInt8 = 0
            while systemRead(STDIN_FILENO, &byte, 1) > 0 {}
            _exit(1)
        }
    }

    /// Ends as a machine without power does: nothing is flushed, and nobody is told.
    static func die() {
        kill(getpid(), SIGKILL)
    }

    /// Reads without joining the group: it is about what is committed, not about who owns a partition.
    private func handle(_ servers: [String]) async throws {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: servers,
            partitions: [KafkaTopicPartition(topic: topic, partition: 0)],
            group: name
        )
        configuration.additionalProperties = try client.properties.applied {
            property throws(ToolFailure) in try configuration.take(property)
        }
        try await withKafkaConsumer(configuration, logger: client.logger) { consumer in
            var batch: [KafkaConsumer.Delivery] = []
            var handled = 0
            for try await delivery in consumer.deliveries {
                batch.append(delivery)
                let isLast = delivery.number == messages - 1
                guard batch.count == Experiment.batchCount || isLast else { continue }
                if mode == .commitBefore { try await commit(batch, consumer) }
                for delivery in batch {
                    Self.say(.handled(delivery.number))
                    handled += 1
                    if handled == diesAfter { Self.die() }
                }
                if mode == .commitAfter { try await commit(batch, consumer) }
                if isLast { break }
                batch = []
            }
        }
    }

    private func commit(_ batch: [KafkaConsumer.Delivery], _ consumer: KafkaConsumer) async throws {
        for delivery in batch { delivery.acknowledge() }
        try await consumer.commit()
    }
}

extension KafkaConsumer.Delivery {
    /// The number of an experiment's message; -2 where it is none.
    var number: Int { value?.string.flatMap { Int($0) } ?? -2 }
}

extension ExperimentWorker.Line: CustomStringConvertible {
    var description: String {
        switch self {
        case .handled(let number): "h \(number)"
        case .committed(let numbers, let nanoseconds): "c \(numbers.lowerBound) \(numbers.upperBound) \(nanoseconds)"
        case .aborted: "a"
        case .unknown(let numbers): "u \(numbers.lowerBound) \(numbers.upperBound)"
        case .end: "e"
        }
    }

    /// Nil where it is none: the last line of a process that was killed may be half of one.
    init?(_ text: some StringProtocol) {
        let words = text.split(separator: " ")
        let numbers = words.dropFirst().compactMap { Int($0) }
        switch (words.first, numbers.count) {
        case ("h", 1): self = .handled(numbers[0])
        case ("c", 3) where numbers[0] <= numbers[1]:
            self = .committed(numbers[0]...numbers[1], nanoseconds: Int64(numbers[2]))
        case ("u", 2) where numbers[0] <= numbers[1]: self = .unknown(numbers[0]...numbers[1])
        case ("a", 0): self = .aborted
        case ("e", 0): self = .end
        default: return nil
        }
    }
}
