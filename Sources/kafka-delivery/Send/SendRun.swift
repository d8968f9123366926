import Foundation
import KafkaDelivery
import Synchronization
import ToolSupport

/// The moving parts of a ``SendJob``.
final class SendRun: Sendable {
    private let job: SendJob
    private let producer: KafkaProducer
    private let failedLines: FailedLines?
    private let bell: Bell
    private let bar: ProgressBar
    private let channel = BoundedChannel<SendJob.Sent>(capacity: SendJob.maximumWaitingBytes)
    private let reports: Output?
    // The reading task, the awaiting task and the signal's listener write to it.
    private let state = Mutex(SendJob.State())

    init(job: SendJob, producer: KafkaProducer, failedLines: FailedLines?, bell: Bell, bar: ProgressBar) {
        self.job = job
        self.producer = producer
        self.failedLines = failedLines
        self.bell = bell
        self.bar = bar
        self.reports = job.printsReports ? Output(STDOUT_FILENO) : nil
    }

    /// Ends reading; what is under way gets a few seconds more. The first reason counts.
    func stop(_ reason: SendJob.Stop) {
        let isFirst = state.withLock { state in
            defer { state.stop = state.stop ?? reason }
            return state.stop == nil
        }
        guard isFirst else { return }
        bell.ring()
        if case .input = reason { return }
        // Lets go of an enqueue that waits for room, and of reports that do not come.
        Task { await producer.close(within: SendJob.patience) }
    }

    private var isStopped: Bool { state.withLock { $0.stop != nil } }
}

// MARK: Reading

extension SendRun {
    private static let pieceBytes = 128 << 10
    /// The longest line or file; more where messages are allowed to be larger.
    private var limit: Int { max(64 << 20, job.configuration.maximumMessageBytes) }

    func read() async {
        for (index, name) in job.inputs.enumerated() {
            // What will be left if reading ends here.
            var rest = job.isWhole ? "\(name)" : "all of \(name)"
            do {
                if isStopped { throw SystemError.stopped }
                let input = try Input(name, bell: bell)
                if job.isWhole {
                    try await readWhole(input, name)
                } else {
                    try await readLines(input, name, &rest)
                }
            } catch {
                if let error = error as? SystemError, error != .stopped { stop(.input("\(name): \(error.text)")) }
                if let error = error as? LineSplitter.TooLong {
                    stop(.input("a line has more than \(error.limit.grouped) bytes"))
                }
                state.withLock { [rest] in $0.unread = (rest, job.inputs.count - index - 1) }
                break
            }
        }
        state.withLock { $0.isReading = false }
        channel.finish()
    }

    private func readLines(_ input: Input, _ name: InputName, _ rest: inout String) async throws {
        var splitter = LineSplitter(limit: limit)
        var number = 0
        var sent = 0
        defer { if sent > 0 { rest = "what follows line \(sent.grouped) of \(name)" } }
        while true {
            let bytes = try await input.read(Self.pieceBytes)
            var piece = bytes[...]
            while let line = bytes.isEmpty ? try splitter.finish() : try splitter.next(in: &piece) {
                number += 1
                try await send(line.bytes, raw: line.raw, InputPlace(input: "\(name)", line: number))
                sent = number
            }
            if bytes.isEmpty { return }
            bar.update { $0.bytesRead += bytes.count }
        }
    }

    private func readWhole(_ input: Input, _ name: InputName) async throws {
        let place = InputPlace(input: "\(name)", line: nil)
        let raw = Array("\(name)\n".utf8)
        var whole: [UInt8] = []
        while true {
            let bytes: [UInt8]
            do throws(SystemError) {
                bytes = try await input.read(Self.pieceBytes)
            } catch {
                guard error != .stopped else { throw error }
                return await pass(.failure(.file(error.text)), raw: raw, place)
            }
            if bytes.isEmpty { break }
            bar.update { $0.bytesRead += bytes.count }
            whole.append(contentsOf: bytes)
            guard whole.count <= limit else {
                return await pass(.failure(.file("it has more than \(limit.grouped) bytes")), raw: raw, place)
            }
        }
        try await send(whole, raw: raw, place)
    }

    /// Enqueues one message, and passes it on to the task that awaits the reports.
    private func send(_ bytes: [UInt8], raw: @autoclosure () -> [UInt8], _ place: InputPlace) async throws {
        if isStopped { throw SystemError.stopped }
        if bytes.isEmpty, job.skipsEmpty {
            state.withLock { $0.skipped += 1 }
            return
        }
        let message: KafkaMessage
        do {
            message = try job.template.message(bytes)
        } catch {
            return await pass(.failure(.line(error)), raw: raw(), place)
        }
        do {
            let delivery = try await producer.enqueue(message)
            await pass(.success(SendJob.Pending(delivery: delivery, message: message)), raw: raw(), place)
        } catch {
            // Refused because reading was to end: it counts as not read.
            if error.kind == .closed, isStopped { throw SystemError.stopped }
            await pass(.failure(.kafka(error)), raw: raw(), place)
        }
    }

    private func pass(
        _ pending: Result<SendJob.Pending, SendFailure>,
        raw: @autoclosure () -> [UInt8],
        _ place: InputPlace
    ) async {
        let raw = failedLines == nil ? [] : raw()
        var cost = 256 + raw.count
        if case .success(let pending) = pending {
            cost += (pending.message.key?.count ?? 0) + (pending.message.value?.count ?? 0)
        }
        await channel.send(SendJob.Sent(place: place, raw: raw, pending: pending), cost: cost)
    }
}

// MARK: Awaiting reports

extension SendRun {
    /// Awaits the reports in the order of the input, until all that was read has one.
    func settle() async {
        while let batch = await channel.receive() {
            for sent in batch {
                switch await outcome(of: sent) {
                case .success(let report): await confirmed(report)
                case .failure(let failure): await failed(sent, failure)
                }
            }
        }
    }

    private func outcome(of sent: SendJob.Sent) async -> Result<KafkaDeliveryReport, SendFailure> {
        switch sent.pending {
        case .failure(let failure): return .failure(failure)
        case .success(let pending):
            do {
                // What was refused together with others is sent again by itself: its own answer counts.
                return .success(try await producer.report(of: pending.delivery, pending.message))
            } catch {
                return .failure(.kafka(error))
            }
        }
    }

    private func confirmed(_ report: KafkaDeliveryReport) async {
        bar.update { $0.confirmed += 1 }
        await printReport("\(report.topic) \(report.partition) \(report.hasOffset ? "\(report.offset)" : "-")\n")
    }

    private func failed(_ sent: SendJob.Sent, _ failure: SendFailure) async {
        bar.update { $0.failed += 1 }
        let isNews = state.withLock { $0.tally.add(failure, at: sent.place) && $0.isReading }
        if isNews { StandardError.say("\(sent.place): \(failure.sentence)") }
        await printReport("\(job.template.topic) - -\n")
        if let failedLines {
            do {
                try await failedLines.append(sent.raw)
            } catch {
                state.withLock { $0.keepingError = error }
                stop(.hopeless)
            }
        }
        if failure.concernsAll { stop(.hopeless) }
    }

    private func printReport(_ line: String) async {
        do {
            try await reports?.write(line.utf8)
        } catch {
            // The reader of the reports has seen enough; the messages go on.
            if !error.isBrokenPipe { state.withLock { $0.reportingError = error } }
        }
    }
}

// MARK: The end

extension SendRun {
    /// Says what became of everything.
    ///
    /// - Throws: ``ToolFailure`` where not all was read and confirmed.
    func finish(_ interruption: Interruption) async throws {
        do {
            try await failedLines?.finish()
        } catch {
            state.withLock { $0.keepingError = error }
        }
        do {
            try await reports?.flush()
        } catch {
            if !error.isBrokenPipe { state.withLock { $0.reportingError = error } }
        }
        let (progress, elapsed) = bar.finish()
        let summary = SendSummary(
            progress: progress,
            elapsed: elapsed,
            state: state.withLock { $0 },
            failedPath: failedLines?.path
        )
        if let sentence = summary.failure {
            throw ToolFailure(sentence, status: summary.wasInterrupted ? interruption.status ?? 1 : 1)
        }
        StandardError.say(summary.success)
    }
}
