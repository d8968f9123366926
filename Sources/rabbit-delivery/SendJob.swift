import DequeModule
import Logging
import RabbitDelivery
import ToolSupport

/// One run of `send`: reads, publishes, waits for confirmations in order.
struct SendJob {
    /// The longest line, and the largest file that is sent whole.
    static let maximumBytes = 128 << 20
    /// How many messages are under way.
    private static let window = 1_000

    let template: RabbitMessage
    let field: JSONField?
    let inputs: [InputName]
    let isWhole: Bool
    let skipsEmpty: Bool
    let printsReports: Bool
    let failedPath: String?
    let showsProgress: Bool
    let configuration: RabbitPublisher.Configuration
    let logger: Logger

    func run() async throws {
        var facts: [(name: InputName, facts: Input.Facts)] = []
        for input in inputs {
            do throws(SystemError) {
                facts.append((input, try Input.facts(of: input)))
            } catch {
                throw ToolFailure("\(input): \(error.text); nothing was sent")
            }
        }
        let failedLines = try failedPath.map { path throws(ToolFailure) in try FailedLines(path: path, inputs: facts) }
        let publisher: RabbitPublisher
        do throws(RabbitError) {
            publisher = try RabbitPublisher(configuration, logger: logger)
        } catch {
            throw ToolFailure(error)
        }
        try await withInterruption { interruption in
            let bell: Bell
            do throws(SystemError) { bell = try Bell() } catch { throw ToolFailure(error.text) }
            interruption.onSignal {
                bell.ring()
                // What is under way has its outcome by then.
                Task { await publisher.close(within: .seconds(5)) }
            }
            var run = SendRun(job: self, publisher: publisher, failedLines: failedLines, window: Self.window)
            do throws(ToolFailure) {
                for input in inputs where interruption.signal == nil { try await run.read(input, bell) }
                try await run.finish()
            } catch {
                await publisher.close(within: .seconds(5))
                throw error
            }
            await publisher.close(within: .seconds(5))
            try run.conclude(interruption)
        }
    }
}

/// What a run of `send` has read and not seen confirmed.
struct SendRun {
    private struct UnderWay {
        let place: InputPlace
        let raw: [UInt8]
        let routingKey: String
        let pending: Result<RabbitPublisher.PendingConfirmation, Problem>
    }

    /// Why a message was not accepted, in words.
    private struct Problem: Error {
        let sentence: String
    }

    let job: SendJob
    let publisher: RabbitPublisher
    let failedLines: FailedLines?
    let window: Int
    private var underWay: Deque<UnderWay> = []
    private var confirmed = 0
    private var failed = 0
    private var firstProblem: String?
    private var nextStatus = ContinuousClock.now

    init(job: SendJob, publisher: RabbitPublisher, failedLines: FailedLines?, window: Int) {
        self.job = job
        self.publisher = publisher
        self.failedLines = failedLines
        self.window = window
    }

    mutating func read(_ name: InputName, _ bell: Bell) async throws(ToolFailure) {
        do {
            let input = try Input(name, bell: bell)
            var splitter = LineSplitter(limit: SendJob.maximumBytes)
            var number = 0
            var whole: [UInt8] = []
            while case let bytes = try await input.read(65_536), !bytes.isEmpty {
                if job.isWhole {
                    whole += bytes
                    guard whole.count <= SendJob.maximumBytes else {
                        throw ToolFailure("\(name): more than \(SendJob.maximumBytes) bytes")
                    }
                    continue
                }
                var piece = bytes[...]
                while let line = try splitter.next(in: &piece) {
                    number += 1
                    try await send(line.bytes, raw: line.raw, InputPlace(input: "\(name)", line: number))
                }
            }
            if job.isWhole {
                try await send(whole, raw: Array("\(name)\n".utf8), InputPlace(input: "\(name)", line: nil))
            } else if let line = try splitter.finish() {
                try await send(line.bytes, raw: line.raw, InputPlace(input: "\(name)", line: number + 1))
            }
        } catch let error as SystemError {
            // Stopped by a signal: what was read is sent.
            if error != .stopped { throw ToolFailure("\(name): \(error.text)") }
        } catch let error as LineSplitter.TooLong {
            throw ToolFailure("\(name): a line has more than \(error.limit) bytes")
        } catch let error as ToolFailure {
            throw error
        } catch {
            throw ToolFailure("\(name): \(error)")
        }
    }

    private mutating func send(_ body: [UInt8], raw: [UInt8], _ place: InputPlace) async throws {
        if job.skipsEmpty, body.isEmpty { return }
        var message = job.template
        message.body = body
        if let field = job.field {
            guard let bytes = try? field.value(in: body), let key = String(validating: bytes, as: UTF8.self) else {
                let problem = Problem(sentence: "it has no field \(field.path.joined(separator: "."))")
                underWay.append(UnderWay(place: place, raw: raw, routingKey: "-", pending: .failure(problem)))
                return
            }
            message.routingKey = key
        }
        let pending: Result<RabbitPublisher.PendingConfirmation, Problem>
        do throws(RabbitError) {
            pending = .success(try await publisher.enqueue(message))
        } catch {
            pending = .failure(Problem(sentence: "\(error)"))
        }
        underWay.append(UnderWay(place: place, raw: raw, routingKey: message.routingKey, pending: pending))
        if underWay.count >= window { try await settleFirst() }
    }

    private mutating func settleFirst() async throws {
        guard let first = underWay.popFirst() else { return }
        switch first.pending {
        case .failure(let problem): try await fail(first, problem.sentence)
        case .success(let pending):
            do throws(RabbitError) {
                let confirmation = try await pending.confirmation
                confirmed += 1
                report(first.routingKey, "\(confirmation.sequenceNumber)")
            } catch {
                try await fail(first, "\(error)")
            }
        }
        show()
    }

    private mutating func fail(_ message: UnderWay, _ problem: String) async throws {
        failed += 1
        if firstProblem == nil { firstProblem = "\(message.place): \(problem)" }
        report(message.routingKey, "-")
        try await failedLines?.append(message.raw)
    }

    private func report(_ routingKey: String, _ number: String) {
        guard job.printsReports else { return }
        StandardOutput.print("\(job.template.exchange) \(routingKey) \(number)")
    }

    private mutating func show() {
        guard job.showsProgress, ContinuousClock.now >= nextStatus else { return }
        nextStatus = .now.advanced(by: .milliseconds(100))
        StandardError.show(status: "\(confirmed.grouped) confirmed" + (failed > 0 ? ", \(failed.grouped) failed" : ""))
    }

    mutating func finish() async throws(ToolFailure) {
        do {
            while !underWay.isEmpty { try await settleFirst() }
            try await failedLines?.finish()
        } catch {
            throw ToolFailure("\(failedLines?.path ?? "--failed"): \((error as? SystemError)?.text ?? "\(error)")")
        }
        if job.showsProgress { StandardError.show(status: "") }
    }

    /// Says what came of it, and ends with the status that goes with it.
    func conclude(_ interruption: Interruption) throws {
        var sentence = "\(count(confirmed, "message")) confirmed"
        if failed > 0 { sentence += ", \(failed.grouped) not: \(firstProblem ?? "")" }
        if let failedLines, failed > 0 { sentence += "; what was not confirmed is in \(failedLines.path)" }
        if let status = interruption.status { throw ToolFailure(sentence + "; interrupted", status: status) }
        if failed > 0 { throw ToolFailure(sentence) }
        StandardError.say(sentence)
    }
}
