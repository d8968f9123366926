import Foundation

/// An ``ExperimentWorker`` at work, seen from the experiment.
final class WorkerProcess: Sendable {
    /// How a process ended.
    enum End: Equatable {
        /// SIGKILL ended it.
        case killed
        case exit(Int32)
    }

    /// What the worker says, until it ends.
    let lines: AsyncStream<ExperimentWorker.Line>
    private let process: Process
    private let ends: AsyncStream<End>
    /// The worker ends when this does.
    private let lifeline = Pipe()

    /// Runs this program again.
    init(_ arguments: [String]) throws {
        guard let program = Bundle.main.executablePath else {
            throw ToolFailure("the program cannot be found, to be started again")
        }
        process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = [ExperimentWorker.commandName] + arguments
        process.standardInput = lifeline
        let output = Pipe()
        process.standardOutput = output
        let (ends, ending) = AsyncStream.makeStream(of: End.self)
        self.ends = ends
        process.terminationHandler = { process in
            let isKilled = process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGKILL
            ending.yield(isKilled ? .killed : .exit(process.terminationStatus))
            ending.finish()
        }
        // As many as there are messages, a few times over at the most.
        let (lines, saying) = AsyncStream.makeStream(of: ExperimentWorker.Line.self)
        self.lines = lines
        try process.run()
        let reading = output.fileHandleForReading
        Thread.detachNewThread {
            var rest: [UInt8] = []
            while let data = try? reading.read(upToCount: 1 << 16), !data.isEmpty {
                rest += data
                let end = rest.lastIndex(of: UInt8(ascii: "\n")) ?? -1
                for line in rest[...end].split(separator: UInt8(ascii: "\n")) {
                    if let line = ExperimentWorker.Line(String(decoding: line, as: UTF8.self)) { saying.yield(line) }
                }
                rest.removeFirst(end + 1)
            }
            saying.finish()
        }
    }

    /// Waits for the end of the process.
    func end() async -> End {
        for await end in ends { return end }
        return .exit(-1)
    }

    func kill() {
        process.terminate()
    }
}
