import Logging
import RabbitDelivery
import ToolSupport

/// One run of `send`: one task reads and publishes, another awaits the confirmations in the same order.
struct SendJob: Sendable {
    /// The longest line, and the largest file that is sent whole.
    static let maximumBytes = 128 << 20

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
            let run = SendRun(job: self, publisher: publisher, failedLines: failedLines, bell: bell)
            async let settled: Void = run.settle()
            await run.read { interruption.signal != nil }
            await settled
            await publisher.close(within: .seconds(5))
            try await run.finish(interruption)
        }
    }
}
