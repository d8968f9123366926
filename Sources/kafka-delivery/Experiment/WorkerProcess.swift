import Foundation
import KafkaDeliveryTesting
import ToolSupport

/// An ``ExperimentWorker`` at work, seen from the experiment.
final class WorkerProcess: Sendable {
    /// How a process ended.
    enum End: Equatable {
        /// SIGKILL ended it.
        case killed
        case exit(Int32)
        case signal(Int32)
    }

    /// What the worker says, until it ends.
    let lines: AsyncCompactMapSequence<AsyncStream<String>, ExperimentWorker.Line>
    /// The worker ends when its input does, and that with this object.
    private let process: ChildProcess

    /// Runs this program again.
    init(_ arguments: [String]) throws {
        guard let program = Bundle.main.executablePath else {
            throw ToolFailure("the program cannot be found, to be started again")
        }
        do {
            process = try ChildProcess(
                program,
                [ExperimentWorker.commandName] + arguments,
                errors: nil,
                // A signal to the experiment is answered by the experiment.
                hasOwnGroup: true
            )
        } catch {
            throw ToolFailure("\(error)")
        }
        // As many as there are messages, a few times over at the most.
        lines = process.lines().compactMap { ExperimentWorker.Line($0) }
    }

    /// Waits for the end of the process.
    func end() async -> End {
        switch await process.end() {
        case .exit(let status): .exit(status)
        case .signal(SIGKILL): .killed
        case .signal(let number): .signal(number)
        }
    }

    func kill() {
        process.send(signal: SIGTERM)
    }
}
