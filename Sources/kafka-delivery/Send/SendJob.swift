import Foundation
import KafkaDelivery
import Logging
import Synchronization
import ToolSupport

/// One run of `send`: one task reads and enqueues, another awaits the reports in the same order.
struct SendJob: Sendable {
    /// A line, or a whole file, on its way.
    struct Sent: Sendable {
        let place: InputPlace
        /// What `--failed` keeps; empty where it is not asked for.
        let raw: [UInt8]
        let pending: Result<Pending, SendFailure>
    }

    /// What was enqueued, and the message, to be sent again where it was refused together with others.
    struct Pending: Sendable {
        let delivery: KafkaProducer.PendingDelivery
        let message: KafkaMessage
    }

    /// Why reading ended before the input did.
    enum Stop: Sendable {
        case signal
        /// Every other message would fail, too; or there is nowhere to keep what fails.
        case hopeless
        /// The input itself cannot be read on.
        case input(String)
    }

    struct State {
        var tally = SendTally()
        var stop: Stop?
        var skipped = 0
        /// Whether more may come; as long as it may, failures are told as they happen and not only at the end.
        var isReading = true
        /// What was not sent because reading ended before it, and how many files after that.
        var unread: (what: String, files: Int)?
        /// Why the failed lines could not be kept.
        var keepingError: SystemError?
        /// Why the reports could not be written.
        var reportingError: SystemError?
    }

    let template: MessageTemplate
    let inputs: [InputName]
    let isWhole: Bool
    let skipsEmpty: Bool
    let printsReports: Bool
    let failedPath: String?
    let mayShowProgress: Bool
    let configuration: KafkaProducer.Configuration
    let logger: Logger

    /// What is on its way from the reading task to the awaiting one costs at most this many bytes of memory, beside
    /// the producer's own buffer.
    static let maximumWaitingBytes = 64 << 20
    /// How long messages under way are waited for after a signal.
    static let patience = Duration.seconds(5)

    func run() async throws {
        var facts: [(name: InputName, facts: Input.Facts)] = []
        for name in inputs {
            do {
                facts.append((name, try Input.facts(of: name)))
            } catch {
                throw ToolFailure("\(name): \(error.text); nothing was sent")
            }
        }
        let failedLines = try failedPath.map { path in try FailedLines(path: path, inputs: facts) }
        let producer: KafkaProducer
        do {
            producer = try KafkaProducer(configuration, logger: logger)
        } catch {
            try? await failedLines?.finish()
            throw error.toolFailure
        }
        // Where a person types the messages, a bar would be in the way.
        let isTyped = inputs.contains(.standardInput) && isatty(STDIN_FILENO) == 1
        if isTyped, StandardError.isTerminal {
            StandardError.say("reading messages from the terminal, one a line; Ctrl-D ends them")
        }
        let sizes = facts.map(\.facts.size)
        let run = SendRun(
            job: self,
            producer: producer,
            failedLines: failedLines,
            bell: try Self.makeBell(),
            bar: ProgressBar(
                bytesInAll: sizes.contains(nil) ? nil : sizes.reduce(0) { $0 + ($1 ?? 0) },
                isShown: mayShowProgress && StandardError.isTerminal && !isTyped
            )
        )
        try await withInterruption { interruption in
            interruption.onSignal { run.stop(.signal) }
            async let settled: Void = run.settle()
            await run.read()
            await settled
            await producer.close(within: Self.patience)
            try await run.finish(interruption)
        }
    }

    private static func makeBell() throws(ToolFailure) -> Bell {
        do {
            return try Bell()
        } catch {
            throw ToolFailure("no pipe can be made: \(error.text)")
        }
    }
}
