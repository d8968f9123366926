import RabbitDelivery
import Synchronization
import ToolSupport

/// The moving parts of a ``SendJob``.
final class SendRun: Sendable {
    /// A line, or a whole file, on its way.
    private struct Sent: Sendable {
        let place: InputPlace
        /// What `--failed` keeps; empty where it is not asked for.
        let raw: [UInt8]
        let routingKey: String
        let pending: Result<RabbitPublisher.PendingConfirmation, Problem>
    }

    /// Why a message was not accepted, in words.
    private struct Problem: Error {
        let sentence: String
    }

    private struct State {
        var confirmed = 0
        var failed = 0
        var firstProblem: String?
        /// Why reading ended before the input did; not where a signal came.
        var readingError: String?
        /// Why the failed lines could not be kept.
        var keepingError: String?
        var nextStatus = ContinuousClock.now
    }

    /// What is on its way from the reading task to the awaiting one costs at most so many bytes, beside the publisher's own.
    private static let maximumWaitingBytes = 64 << 20

    private let job: SendJob
    private let publisher: RabbitPublisher
    private let failedLines: FailedLines?
    private let bell: Bell
    private let channel = BoundedChannel<Sent>(capacity: SendRun.maximumWaitingBytes)
    // The reading task and the awaiting one write to it.
    private let state = Mutex(State())

    init(job: SendJob, publisher: RabbitPublisher, failedLines: FailedLines?, bell: Bell) {
        self.job = job
        self.publisher = publisher
        self.failedLines = failedLines
        self.bell = bell
    }
}

// MARK: Reading

extension SendRun {
    /// Reads all inputs, until one cannot be read on, or the bell rings.
    func read(isInterrupted: () -> Bool) async {
        for name in job.inputs where !isInterrupted() && state.withLock({ $0.readingError == nil }) {
            do {
                try await read(name)
            } catch let error as SystemError {
                // Stopped by a signal: what was read is sent.
                if error != .stopped { noteReadingError("\(name): \(error.text)") }
                break
            } catch let error as LineSplitter.TooLong {
                noteReadingError("\(name): a line has more than \(error.limit.grouped) bytes")
            } catch {
                noteReadingError("\(name): \(error)")
            }
        }
        channel.finish()
    }

    private func noteReadingError(_ sentence: String) {
        state.withLock { $0.readingError = $0.readingError ?? sentence }
    }

    private struct TooLarge: Error, CustomStringConvertible {
        let description: String
    }

    private func read(_ name: InputName) async throws {
        let input = try Input(name, bell: bell)
        var splitter = LineSplitter(limit: SendJob.maximumBytes)
        var number = 0
        var whole: [UInt8] = []
        while case let bytes = try await input.read(65_536), !bytes.isEmpty {
            if job.isWhole {
                whole += bytes
                guard whole.count <= SendJob.maximumBytes else {
                    throw TooLarge(description: "more than \(SendJob.maximumBytes.grouped) bytes")
                }
                continue
            }
            var piece = bytes[...]
            while let line = try splitter.next(in: &piece) {
                number += 1
                await send(line.bytes, raw: line.raw, InputPlace(input: "\(name)", line: number))
            }
        }
        if job.isWhole {
            await send(whole, raw: Array("\(name)\n".utf8), InputPlace(input: "\(name)", line: nil))
        } else if let line = try splitter.finish() {
            await send(line.bytes, raw: line.raw, InputPlace(input: "\(name)", line: number + 1))
        }
    }

    /// Publishes one message, and passes it on to the task that awaits the confirmations.
    private func send(_ body: [UInt8], raw: @autoclosure () -> [UInt8], _ place: InputPlace) async {
        if job.skipsEmpty, body.isEmpty { return }
        var message = job.template
        message.body = body
        var pending: Result<RabbitPublisher.PendingConfirmation, Problem>?
        if let field = job.field {
            if let bytes = try? field.value(in: body), let key = String(validating: bytes, as: UTF8.self) {
                message.routingKey = key
            } else {
                message.routingKey = "-"
                pending = .failure(Problem(sentence: "it has no field \(field.path.joined(separator: "."))"))
            }
        }
        let sent: Result<RabbitPublisher.PendingConfirmation, Problem>
        if let pending {
            sent = pending
        } else {
            do throws(RabbitError) {
                sent = .success(try await publisher.enqueue(message))
            } catch {
                sent = .failure(Problem(sentence: "\(error)"))
            }
        }
        let raw = failedLines == nil ? [] : raw()
        await channel.send(
            Sent(place: place, raw: raw, routingKey: message.routingKey, pending: sent),
            cost: 256 + raw.count
        )
    }
}

// MARK: Awaiting confirmations

extension SendRun {
    /// Awaits the confirmations in the order of the input, until all that was read has its outcome.
    func settle() async {
        while let batch = await channel.receive() {
            for sent in batch {
                switch sent.pending {
                case .failure(let problem): await fail(sent, problem.sentence)
                case .success(let pending):
                    do throws(RabbitError) {
                        let confirmation = try await pending.confirmation
                        state.withLock { $0.confirmed += 1 }
                        report(sent.routingKey, "\(confirmation.sequenceNumber)")
                    } catch {
                        await fail(sent, "\(error)")
                    }
                }
                show()
            }
        }
    }

    private func fail(_ message: Sent, _ problem: String) async {
        state.withLock { state in
            state.failed += 1
            if state.firstProblem == nil { state.firstProblem = "\(message.place): \(problem)" }
        }
        report(message.routingKey, "-")
        guard let failedLines else { return }
        do {
            try await failedLines.append(message.raw)
        } catch {
            // There is nowhere to keep what fails: nothing more is sent.
            state.withLock { $0.keepingError = $0.keepingError ?? error.text }
            bell.ring()
        }
    }

    private func report(_ routingKey: String, _ number: String) {
        guard job.printsReports else { return }
        let exchange = job.template.exchange
        StandardOutput.print("\(exchange.isEmpty ? "" : "\(exchange) ")\(routingKey) \(number)")
    }

    private func show() {
        guard job.showsProgress else { return }
        let status: String? = state.withLock { state in
            guard ContinuousClock.now >= state.nextStatus else { return nil }
            state.nextStatus = .now.advanced(by: .milliseconds(100))
            let failed = state.failed > 0 ? ", \(state.failed.grouped) failed" : ""
            return "\(state.confirmed.grouped) confirmed\(failed)"
        }
        if let status { StandardError.show(status: status) }
    }
}

// MARK: The end

extension SendRun {
    /// Says what came of it.
    ///
    /// - Throws: ``ToolFailure`` where not all was read and confirmed, with the status that goes with it.
    func finish(_ interruption: Interruption) async throws(ToolFailure) {
        do {
            try await failedLines?.finish()
        } catch {
            state.withLock { $0.keepingError = $0.keepingError ?? error.text }
        }
        if job.showsProgress { StandardError.show(status: "") }
        let state = state.withLock { $0 }
        var sentence = "\(state.confirmed.grouped) message\(state.confirmed == 1 ? "" : "s") confirmed"
        if state.failed > 0 {
            let problem = state.firstProblem ?? ""
            // More may follow.
            sentence +=
                ", \(state.failed.grouped) not: \(problem.hasSuffix(".") ? String(problem.dropLast()) : problem)"
        }
        if let failedLines, state.failed > 0, state.keepingError == nil {
            sentence += "; what was not confirmed is in \(failedLines.path)"
        }
        if let error = state.keepingError {
            throw ToolFailure("\(failedLines?.path ?? "--failed"): \(error); \(sentence)")
        }
        if let error = state.readingError { throw ToolFailure("\(error); \(sentence)") }
        if let status = interruption.status { throw ToolFailure(sentence + "; interrupted", status: status) }
        if state.failed > 0 { throw ToolFailure(sentence) }
        StandardError.say(sentence)
    }
}
