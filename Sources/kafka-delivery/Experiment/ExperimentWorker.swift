import ArgumentParser
import Dispatch
import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import ToolSupport

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
        /// The first message is there, and faults begin: what came before was starting and joining.
        case begin
        /// A message took effect; or was transformed, which takes effect when its transaction is committed.
        case handled(Int)
        /// Offsets were committed, and that took so many nanoseconds.
        case acknowledged(nanoseconds: Int64)
        /// A transaction with these messages was committed, and took so many nanoseconds.
        case committed(ClosedRange<Int>, nanoseconds: Int64)
        /// A transaction was aborted.
        case aborted
        /// It is not known what became of a transaction with these messages.
        case unknown(ClosedRange<Int>)
        /// How many connections were cut, and how many confirmations lost, in the life of the process.
        case faults(cuts: Int, losses: Int)
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
    /// How long the group waits for a process that was killed.
    @Option var sessionMilliseconds: Int
    /// After how many messages this process kills itself.
    @Option var diesAfter: Int?
    @OptionGroup var client: ClientOptions

    func run() async throws {
        endWithParent()
        let servers = try ClusterOptions.servers(in: bootstrapServers)
        switch mode {
        case .commitBefore, .commitAfter: try await ReceivingWork(worker: self, servers: servers).handle()
        case .transform: try await ReceivingWork(worker: self, servers: servers).transform()
        case .transactional: try await TransactionalWork(worker: self, servers: servers).send()
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

    /// Ends as a machine without power does: nothing is flushed, and no broker is told.
    static func die(_ relays: FaultRelay...) {
        say(faults(relays))
        kill(getpid(), SIGKILL)
    }

    static func faults(_ relays: [FaultRelay]) -> Line {
        let statistics = relays.map(\.statistics)
        return .faults(
            cuts: statistics.reduce(0) { $0 + $1.cuts },
            losses: statistics.reduce(0) { $0 + $1.lostResponses }
        )
    }

    /// Some time in a transaction, or in its commit, or after it: that is what has to be survived.
    func dieSoon(_ relays: FaultRelay...) {
        var generator = SeededGenerator(seed: seed)
        let time = Int.random(in: 0..<20_000, using: &generator)
        // By the clock, because no step is to be the one in which it dies.
        DispatchQueue.global().asyncAfter(deadline: .now() + .microseconds(time)) {
            Self.say(Self.faults(relays))
            kill(getpid(), SIGKILL)
        }
    }

    /// The settings of a transactional producer behind a relay.
    func transactionalProducer(
        _ servers: [String],
        through relay: FaultRelay
    ) throws -> KafkaTransactionalProducer.Configuration {
        var configuration = KafkaTransactionalProducer.Configuration(transactionalID: name, bootstrapServers: servers)
        ExperimentSender.prepare(&configuration.producer)
        configuration.producer.messageTimeout = .seconds(30)
        for property in client.properties where try !configuration.producer.take(property) {
            configuration.producer.additionalProperties[property.name] = property.value
        }
        relay.route(&configuration)
        return configuration
    }
}

extension KafkaConsumer.Delivery {
    /// The number of an experiment's message; -2 where it is none.
    var number: Int { value?.string.flatMap { Int($0) } ?? -2 }
}

extension ExperimentWorker.Line: CustomStringConvertible {
    var description: String {
        switch self {
        case .begin: "b"
        case .handled(let number): "h \(number)"
        case .acknowledged(let nanoseconds): "k \(nanoseconds)"
        case .committed(let numbers, let nanoseconds): "c \(numbers.lowerBound) \(numbers.upperBound) \(nanoseconds)"
        case .aborted: "a"
        case .unknown(let numbers): "u \(numbers.lowerBound) \(numbers.upperBound)"
        case .faults(let cuts, let losses): "f \(cuts) \(losses)"
        case .end: "e"
        }
    }

    /// Nil where it is none: the last line of a process that was killed may be half of one.
    init?(_ text: some StringProtocol) {
        let words = text.split(separator: " ")
        let numbers = words.dropFirst().compactMap { Int($0) }
        switch (words.first, numbers.count) {
        case ("b", 0): self = .begin
        case ("h", 1): self = .handled(numbers[0])
        case ("k", 1): self = .acknowledged(nanoseconds: Int64(numbers[0]))
        case ("c", 3) where numbers[0] <= numbers[1]:
            self = .committed(numbers[0]...numbers[1], nanoseconds: Int64(numbers[2]))
        case ("u", 2) where numbers[0] <= numbers[1]: self = .unknown(numbers[0]...numbers[1])
        case ("a", 0): self = .aborted
        case ("f", 2): self = .faults(cuts: numbers[0], losses: numbers[1])
        case ("e", 0): self = .end
        default: return nil
        }
    }
}
