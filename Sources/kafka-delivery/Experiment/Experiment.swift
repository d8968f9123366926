import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Synchronization
import ToolSupport

/// Sends numbered messages through a bad network, once for each mode, and counts what is stored.
struct Experiment: Sendable {
    /// How many messages are committed, or sent in a transaction, together.
    static let batchCount = 50
    /// How often the process of a mode that is about that is killed.
    static let kills = 2
    /// How long a mode may take before it is given up.
    static let patience = Duration.seconds(300)
    /// Topics' names begin with this.
    static let prefix = "kafka-delivery-experiment"

    let servers: [String]
    /// The cluster that is ours; nil where it was given.
    let mock: MockCluster?
    let profile: ExperimentProfile
    let seed: UInt64
    let messages: Int
    let client: ClientOptions
    let progress: ExperimentProgress
    /// Keeps the topics and groups of this run apart from those of others on the same cluster.
    let identifier = String(UInt32.random(in: .min ... .max), radix: 36)

    /// Runs a mode, and says how it ended. Only cancellation is thrown.
    func run(_ mode: ExperimentMode) async throws -> ExperimentOutcome {
        if mock != nil, let reason = mode.reasonAgainstMock { return .notShown(mode, reason: reason) }
        progress.begin(mode.rawValue, of: messages)
        do {
            let result = try await withTimeout { try await carryOut(mode) }
            return .shown(result)
        } catch let failure as ToolFailure {
            try Task.checkCancellation()
            return .failed(mode, reason: failure.sentence)
        } catch let error as KafkaError {
            try Task.checkCancellation()
            return .failed(mode, reason: error.sentence)
        }
    }

    private func carryOut(_ mode: ExperimentMode) async throws -> ExperimentResult {
        switch mode {
        case .atMostOnce, .atLeastOnce, .idempotent: try await send(mode)
        case .transactional, .commitBefore, .commitAfter, .transform: try await runKilled(mode)
        }
    }

    /// Numbers that follow from the seed and the mode, so that a mode is the same whichever others run.
    private func seed(_ mode: ExperimentMode) -> UInt64 {
        mode.rawValue.utf8.reduce(seed) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
    }

    private func topic(_ mode: ExperimentMode, _ suffix: String = "") throws -> String {
        let name = "\(Self.prefix)-\(identifier)-\(mode.rawValue)\(suffix)"
        try mock?.createTopic(name)
        return name
    }

    /// A mode that never ends would otherwise be waited for.
    private func withTimeout(
        _ body: @escaping @Sendable () async throws -> ExperimentResult
    ) async throws -> ExperimentResult {
        let running = Task { try await body() }
        // By the clock, because a mode that hangs gives no sign.
        let timer = DispatchWorkItem { running.cancel() }
        DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Int(Self.patience / .seconds(1))), execute: timer)
        defer { timer.cancel() }
        let result = await withTaskCancellationHandler {
            await running.result
        } onCancel: {
            running.cancel()
        }
        try Task.checkCancellation()
        if running.isCancelled { throw ToolFailure("it took longer than \(Self.patience.short)") }
        return try result.get()
    }
}

// MARK: Sending

extension Experiment {
    private func send(_ mode: ExperimentMode) async throws -> ExperimentResult {
        let topic = try topic(mode)
        let relay = try FaultRelay(seed: seed(mode))
        let sender = ExperimentSender(
            mode: mode,
            configuration: try producer { configuration in
                ExperimentSender.configure(&configuration, for: mode)
                relay.route(&configuration)
            },
            topic: topic,
            messages: messages,
            logger: client.logger,
            progress: { [progress] in progress.update($0) }
        )
        var faults = profile.faults(messages: messages)
        // No confirmation is waited for there, so none can be lost.
        if mode == .atMostOnce { faults.responseLoss = nil }
        let sent = try await sender.run(relay, faults: faults)
        let statistics = relay.statistics
        // What is on its way arrives: a message without confirmation may be.
        relay.faults = .init()
        let stored = try await readWhenQuiet(topic)
        await relay.shutdown()
        return ExperimentResult(
            mode: mode,
            tally: ExperimentTally(answers: sent.answers, stored: stored),
            elapsed: sent.elapsed,
            latencies: Percentiles(sent.latencies),
            cuts: statistics.cuts,
            lostConfirmations: statistics.lostResponses
        )
    }

    private func producer(
        _ change: (inout KafkaProducer.Configuration) throws -> Void
    ) throws -> KafkaProducer.Configuration {
        var configuration = KafkaProducer.Configuration(bootstrapServers: servers)
        ExperimentSender.prepare(&configuration)
        for property in client.properties where try !configuration.take(property) {
            configuration.additionalProperties[property.name] = property.value
        }
        try change(&configuration)
        return configuration
    }

    private var reader: ExperimentReader {
        let properties = client.properties
        return ExperimentReader(
            servers: servers,
            properties: { configuration in
                configuration.additionalProperties = try properties.applied {
                    property throws(ToolFailure) in try configuration.take(property)
                }
            },
            logger: client.logger
        )
    }

    /// Reads until two readings agree: what was sent without asking for a confirmation may still be on its way.
    private func readWhenQuiet(_ topic: String) async throws -> [Int] {
        var last: [Int] = []
        while true {
            // The message before the first, which made the connection.
            let numbers = try await reader.numbers(in: topic).filter { $0 != -1 }
            if numbers == last { return numbers }
            last = numbers
            // Time is what is waited for: a broker does not say that nothing more is on its way to it.
            try await Task.sleep(for: .milliseconds(200))
        }
    }
}

// MARK: Processes that are killed

extension Experiment {
    private func runKilled(_ mode: ExperimentMode) async throws -> ExperimentResult {
        let input = try topic(mode)
        let output = mode == .transform ? try topic(mode, "-output") : input
        if mode.isReceiving {
            try await fill(input, with: 0..<messages)
            if mode == .transform { try await fill(output, with: [-1]) }
        } else {
            // Makes the topic.
            try await fill(input, with: [-1])
        }
        // Every message was there to be handled: one that never was is lost. Of one that was to be sent, nothing is known
        // before something is said.
        var told = ExperimentTold(messages: messages, answer: mode.isReceiving ? .confirmed : .unknown)
        let kills = try await runWorkers(mode, input, output, &told)
        let stored: [Int] =
            switch mode {
            case .commitBefore, .commitAfter: told.handled
            default: try await reader.numbers(in: output).filter { $0 != -1 }
            }
        var result = ExperimentResult(
            mode: mode,
            tally: ExperimentTally(answers: told.answers, stored: stored),
            elapsed: told.worked,
            latencies: Percentiles(told.latencies),
            cuts: told.cuts,
            lostConfirmations: told.losses
        )
        result.kills = kills
        result.aborted = told.aborted
        if mode == .transform { result.repeated = max(told.handled.count - Set(told.handled).count, 0) }
        return result
    }

    /// Without faults: how messages come into the topic is not what is shown. In batches that are small beside what a consumer
    /// asks for at a time, or one would hardly get through uncut.
    private func fill(_ topic: String, with numbers: some Sequence<Int> & Sendable) async throws {
        let configuration = try producer { $0.additionalProperties["batch.num.messages"] = "100" }
        try await withKafkaProducer(configuration, logger: client.logger) { producer in
            let messages = numbers.lazy.map { ExperimentSender.message($0, topic) }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        }
    }

    /// Starts the process again and again, until it comes to its end.
    ///
    /// - Returns: How often it was killed.
    private func runWorkers(
        _ mode: ExperimentMode,
        _ input: String,
        _ output: String,
        _ told: inout ExperimentTold
    ) async throws -> Int {
        var generator = SeededGenerator(seed: seed(mode))
        var kills = 0
        while true {
            // Early enough that there is something left to do for the last one.
            let range = max(messages / 10, 1)...max(messages / 4, 1)
            let diesAfter = kills < Self.kills ? Int.random(in: range, using: &generator) : nil
            let worker = try WorkerProcess(
                arguments(mode, input, output, seed: generator.next(), diesAfter: diesAfter)
            )
            progress.note(kills == 0 ? "starting" : "killed, starting again")
            await withTaskCancellationHandler {
                for await line in worker.lines {
                    if line == .begin { progress.note(nil) }
                    told.take(line)
                    progress.update(told.position)
                }
            } onCancel: {
                worker.kill()
            }
            let end = await worker.end()
            told.endLife()
            try Task.checkCancellation()
            if told.hasEnded, end == .exit(0) { return kills }
            guard end == .killed, diesAfter != nil else {
                throw ToolFailure("its process ended with \(end), and said on standard error why")
            }
            kills += 1
        }
    }

    private func arguments(
        _ mode: ExperimentMode,
        _ input: String,
        _ output: String,
        seed: UInt64,
        diesAfter: Int?
    ) -> [String] {
        var arguments = [
            "--mode", mode.rawValue, "--bootstrap-servers", servers.joined(separator: ","), "--topic", input,
            "--output", output, "--name", "\(Self.prefix)-\(identifier)-\(mode.rawValue)",
            "--messages", "\(messages)", "--profile", profile.rawValue, "--seed", "\(seed)",
            // Real brokers take no less than 6 seconds. A mock lets each process wait for that, and no less than 4 work there.
            "--session-milliseconds", mock == nil ? "6000" : "4000",
        ]
        if let diesAfter { arguments += ["--dies-after", "\(diesAfter)"] }
        // Modes that only receive: a producer has no such property.
        if mock != nil, [.commitBefore, .commitAfter].contains(mode),
            !client.properties.contains(where: { $0.name == "session.timeout.ms" })
        {
            // For 3 s longer than this librdkafka waits for the answer to a join. A mock cluster that does not get its turn for a second forgets
            // a member whose join it has not answered, and reads nothing more of its connection.
            arguments += ["-X", "max.poll.interval.ms=10000"]
        }
        for property in client.properties { arguments += ["-X", "\(property.name)=\(property.value)"] }
        if client.verbose { arguments.append("--verbose") }
        return arguments
    }
}
