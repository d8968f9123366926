import Dispatch
import Foundation
import KafkaDelivery
import Logging
import Synchronization
import ToolSupport

/// One run of `receive`.
struct ReceiveJob: Sendable {
    let format: MessageFormat
    let count: Int?
    let untilEnd: Bool
    /// Whether to say that the group is being joined, which takes seconds.
    let showsJoining: Bool
    let configuration: KafkaConsumer.Configuration
    let logger: Logger

    /// How long output that is not read may hold up the end after a signal.
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
        /// What the group has not read yet beside what is ours, as far as that was asked for.
        var waitsFor: GroupRest.Unread = [:]
        /// Whether all was read that there was.
        var isAtEnd = false
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
    private let rest: GroupRest
    /// Says that ours are read to their end, and that what the group has left is to be looked for.
    private let finishes = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    // The events' task, the signal's listener, the reading task and the one that looks for the end meet here.
    private let state = Mutex(State())

    init(job: ReceiveJob, consumer: KafkaConsumer) {
        self.job = job
        self.consumer = consumer
        self.rest = GroupRest(consumer: consumer, configuration: job.configuration, logger: job.logger)
    }

    func run(_ interruption: Interruption) async throws {
        // Before the loop begins, so that no assignment is missed.
        let events = consumer.events
        let listening = Task { for await event in events { self.handle(event) } }
        let looking = Task { if self.job.untilEnd { await self.lookForEnd() } }
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
        // A full disk says so to a write that nobody waits for, and there may never be another message.
        output.whenFailed { self.endReading() }
        if job.showsJoining { StandardError.show(status: "joining the group \(job.configuration.group) …") }
        let result = await reading.result
        StandardError.show(status: "")
        var writeError: SystemError?
        do {
            try await output.flush()
        } catch {
            writeError = error
        }
        looking.cancel()
        await looking.value
        // Deliveries that wait for output that is not read are not worth waiting for.
        let timeout = writeError == nil ? ReceiveJob.closeTimeout : ReceiveJob.shortCloseTimeout
        let summary = await consumer.close(within: timeout)
        // The last events are those of closing.
        await listening.value
        try report(result, writeError, summary, interruption)
    }

    private func read() async throws {
        for try await delivery in consumer.deliveries {
            let bytes = job.format.bytes(
                of: delivery.message,
                partition: delivery.partition,
                offset: delivery.offset
            )
            let number = taken.increment()
            try await output.write(bytes) { [acknowledged] in
                delivery.acknowledge()
                acknowledged.increment()
            }
            if number == job.count {
                state.withLock { $0.isAtEnd = true }
                return
            }
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
        case .uncommitted(let counts): tellUncommitted(counts)
        case .offsetReset(let partition, let offset):
            let side = job.configuration.autoOffsetReset == .end ? "end" : "beginning"
            StandardError.say("\(partition) does not hold offset \(offset) any more, and goes on at its \(side)")
        case .problem(let error, let partition):
            // Where a partition starts is its own affair.
            tell(error, of: error.kind == .offsetOutOfRange ? partition : nil)
            let isMissing = error.kind == .unknownTopicOrPartition
            if job.untilEnd, isMissing, state.withLock({ !$0.ends.hasPartitions }) {
                endReading(ToolFailure("stopped, because --until-end needs topics that are there"))
            }
        case .retried, .retryFailed, .deadLettered, .deadLetterFailed, .deadLetterRefused, .handedOver,
            .crashesExceeded, .contradictingVerdict, .stuck, .startingOffsetFailed:
            break
        }
    }

    private func track(_ change: (inout EndTracker) -> Void) {
        let isFinished = state.withLock { state in
            change(&state.ends)
            return state.ends.finished != nil
        }
        if isFinished { finishes.continuation.yield() }
    }

    private func tell(_ error: KafkaError, _ prefix: String = "", of partition: KafkaTopicPartition? = nil) {
        let group = prefix + error.kind.description + (error.code ?? "") + (partition?.description ?? "")
        guard state.withLock({ !$0.isEnding && $0.told.insert(group).inserted }) else { return }
        StandardError.say(prefix + error.sentence)
    }
}

// MARK: The end

extension ReceiveRun {
    /// Ends the reading when ours are read to their end and the group has committed all else to its end.
    private func lookForEnd() async {
        for await _ in finishes.stream {
            var unread: GroupRest.Unread = [:]
            var said: Set<KafkaTopicPartition>?
            while let finished = state.withLock({ $0.ends.finished }) {
                do {
                    let before = unread
                    unread = try await rest.unread(beside: finished, before: before)
                    let isStillSo = state.withLock { state in
                        state.waitsFor = unread
                        state.isAtEnd = unread.isEmpty && state.ends.finished == finished
                        return state.isAtEnd
                    }
                    if isStillSo { return endReading() }
                    // What others are about to commit, or has not to be, is gone the second time.
                    if !before.isEmpty, !unread.isEmpty,
                        said.map({ !$0.isSubset(of: unread.keys) || $0.count != unread.count }) ?? true
                    {
                        said = Set(unread.keys)
                        StandardError.say("what is ours is read to its end; waiting for \(Self.text(of: unread))")
                    }
                } catch {
                    tell(error)
                }
                // By the clock, because nothing tells a member what others commit.
                guard (try? await Task.sleep(for: .seconds(1))) != nil else { return }
            }
        }
    }

    /// `orders [1], orders [3] (12 offsets), which other members of the group have, or have left behind`
    private static func text(of unread: GroupRest.Unread) -> String {
        let names = unread.keys.sorted().map(\.description)
        let shown = names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
        let offsets = count(Int(clamping: unread.values.reduce(0, +)), "message")
        return "\(shown), which other members have, or were killed with: up to \(offsets) not committed"
    }

    private func tellUncommitted(_ counts: [KafkaTopicPartition: Int]) {
        let names = counts.keys.sorted().map(\.description).joined(separator: ", ")
        let messages = count(counts.values.reduce(0, +), "acknowledged message")
        StandardError.say(
            "\(messages) of \(names) could not be committed before the partition went, and will come again"
        )
    }

    private func report(
        _ result: Result<Void, any Error>,
        _ writeError: SystemError?,
        _ summary: KafkaCloseSummary,
        _ interruption: Interruption
    ) throws {
        let written = acknowledged.value
        let lost = taken.value - written
        var sentences: [String] = []
        if let failure = state.withLock({ $0.failure }) { sentences.append(failure.sentence) }
        if case .failure(let error as KafkaError) = result { sentences.append(error.sentence) }
        // The reader has gone, and that is how `receive … | head` is meant to end.
        if let writeError, !writeError.isBrokenPipe {
            sentences.append(
                writeError == .stopped
                    ? "standard output was not read any more" : "standard output: \(writeError.text)"
            )
        }
        // What was written when its partition had gone already comes again too.
        let comesAgain = summary.uncommittedMessages + summary.lateVerdicts
        if comesAgain > 0 {
            let messages = count(comesAgain, "acknowledged message")
            sentences.append(
                "\(messages) could not be committed before the partition went: written, and to be delivered again"
            )
        }
        if !sentences.isEmpty {
            if lost > 0 {
                sentences.append("\(count(lost, "message")) not acknowledged, to be delivered again next time")
            }
            throw ToolFailure(sentences.joined(separator: "\n"))
        }
        // Output that was to be whole is not, and who reads the status has to know.
        let (isAtEnd, waitsFor) = state.withLock { ($0.isAtEnd, $0.waitsFor) }
        if let status = interruption.status, job.untilEnd || job.count != nil, !isAtEnd {
            let reason = waitsFor.isEmpty ? "" : ", still waiting for \(Self.text(of: waitsFor))"
            throw ToolFailure(
                "interrupted before the end\(reason)\n\(count(written, "message")) written and acknowledged",
                status: status
            )
        }
        if StandardError.isTerminal {
            StandardError.say("\(count(written, "message")) written and acknowledged")
        }
    }
}
