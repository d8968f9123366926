import Dispatch
import Foundation
import KafkaDelivery
import Logging
import Synchronization

/// One run of `receive`.
struct ReceiveJob: Sendable {
    let format: MessageFormat
    let count: Int?
    let untilEnd: Bool
    /// Whether to say that the group is being joined, which takes seconds.
    let showsJoining: Bool
    let configuration: KafkaConsumer.Configuration
    let logger: Logger

    /// How long output that nobody reads may hold up the end after a signal.
    fileprivate static let outputPatience = 3
    fileprivate static let closeTimeout = Duration.seconds(10)
    fileprivate static let shortCloseTimeout = Duration.seconds(3)

    func run() async throws {
        let run = ReceiveRun(job: self, consumer: try KafkaConsumer(configuration, logger: logger))
        try await withInterruption { interruption in
            try await run.run(interruption)
        }
    }
}

/// Counts from several threads.
private final class Counter: Sendable {
    private let count = Atomic(0)

    var value: Int { count.load(ordering: .relaxed) }

    @discardableResult
    func increment() -> Int {
        count.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

/// The moving parts of a ``ReceiveJob``.
private final class ReceiveRun: Sendable {
    private struct State {
        var ends = EndTracker()
        /// Problems that were told already, so that a broker which stays away is told once.
        var told: Set<String> = []
        /// What ended it from outside of the loop.
        var failure: ToolFailure?
        var isEnding = false
        var endReading: (@Sendable () -> Void)?
    }

    private let job: ReceiveJob
    private let consumer: KafkaConsumer
    private let output = Output(STDOUT_FILENO)
    private let taken = Counter()
    private let acknowledged = Counter()
    // The events' task, the signal's listener and the reading task meet here.
    private let state = Mutex(State())

    init(job: ReceiveJob, consumer: KafkaConsumer) {
        self.job = job
        self.consumer = consumer
    }

    func run(_ interruption: Interruption) async throws {
        // Before the loop begins, so that no assignment is missed.
        let events = consumer.events
        let listening = Task { for await event in events { self.handle(event) } }
        let reading = Task { try await self.read() }
        let isOver = state.withLock { state in
            state.endReading = { reading.cancel() }
            return state.isEnding
        }
        // An event may have asked for the end before there was anything to end.
        if isOver { reading.cancel() }
        interruption.onSignal { [output] in
            self.endReading()
            // By the clock, because a reader that has stopped reading gives no sign.
            DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(ReceiveJob.outputPatience)) { output.stop() }
        }
        // `receive … | head` ends with its reader, also where no more messages come.
        output.whenReaderGoes { self.endReading() }
        if job.showsJoining { StandardError.show(status: "joining the group \(job.configuration.group) …") }
        let result = await reading.result
        StandardError.show(status: "")
        var writeError: SystemError?
        do {
            try await output.flush()
        } catch {
            writeError = error
        }
        // Deliveries that wait for output nobody reads are not worth waiting for.
        let timeout = writeError == nil ? ReceiveJob.closeTimeout : ReceiveJob.shortCloseTimeout
        let summary = await consumer.close(within: timeout)
        listening.cancel()
        try report(result, writeError, summary)
    }

    private func read() async throws {
        for try await delivery in consumer.deliveries {
            let bytes = job.format.bytes(
                of: delivery.content,
                partition: delivery.partition,
                offset: delivery.offset
            )
            let number = taken.increment()
            try await output.write(bytes) { [acknowledged] in
                delivery.acknowledge()
                acknowledged.increment()
            }
            if number == job.count { return }
        }
    }

    private func endReading(_ failure: ToolFailure? = nil) {
        let endReading = state.withLock { state in
            if !state.isEnding { state.failure = failure }
            state.isEnding = true
            return state.endReading
        }
        endReading?()
    }
}

// MARK: Events

extension ReceiveRun {
    private func handle(_ event: KafkaConsumer.Event) {
        switch event {
        case .assigned(let partitions, let generation):
            StandardError.show(status: "")
            track { $0.assign(partitions, generation: generation) }
        case .revoked(let partitions, _), .lost(let partitions, _): track { $0.revoke(partitions) }
        case .caughtUp(let partition, let generation):
            track { $0.reachEnd(of: partition, generation: generation) }
        case .commitFailed(_, let error): tell(error, "a commit failed: ")
        case .problem(let error, _):
            tell(error)
            let isMissing = error.kind == .unknownTopicOrPartition
            if job.untilEnd, isMissing, state.withLock({ !$0.ends.hasPartitions }) {
                endReading(ToolFailure("stopped, because --until-end needs topics that are there"))
            }
        case .redelivery, .retried, .retryFailed, .deadLettered, .deadLetterFailed, .deadLetterRefused, .handedOver,
            .startsExceeded, .contradictingVerdict, .stuck, .uncommitted, .offsetReset:
            break
        }
    }

    private func track(_ change: (inout EndTracker) -> Void) {
        let isComplete = state.withLock { state in
            change(&state.ends)
            return state.ends.isComplete
        }
        if isComplete, job.untilEnd { endReading() }
    }

    private func tell(_ error: KafkaError, _ prefix: String = "") {
        let group = prefix + error.kind.rawValue + (error.code ?? "")
        guard state.withLock({ !$0.isEnding && $0.told.insert(group).inserted }) else { return }
        StandardError.say(prefix + error.sentence)
    }
}

// MARK: The end

extension ReceiveRun {
    private func report(
        _ result: Result<Void, any Error>,
        _ writeError: SystemError?,
        _ summary: KafkaConsumer.CloseSummary
    ) throws {
        let written = acknowledged.value
        let lost = taken.value - written
        var sentences: [String] = []
        if let failure = state.withLock({ $0.failure }) { sentences.append(failure.sentence) }
        if case .failure(let error as KafkaError) = result { sentences.append(error.sentence) }
        // Nobody reads any more, and that is how `receive … | head` is meant to end.
        if let writeError, !writeError.isBrokenPipe {
            sentences.append(
                writeError == .stopped
                    ? "standard output was not read any more" : "standard output: \(writeError.text)"
            )
        }
        if summary.uncommittedPartitions > 0 {
            let partitions = count(summary.uncommittedPartitions, "partition")
            sentences.append("not everything that was acknowledged could be committed (\(partitions))")
        }
        if !sentences.isEmpty {
            if lost > 0 {
                sentences.append("\(count(lost, "message")) not acknowledged, to be delivered again next time")
            }
            throw ToolFailure(sentences.joined(separator: "\n"))
        }
        if StandardError.isTerminal {
            StandardError.say("\(count(written, "message")) written and acknowledged")
        }
    }
}
