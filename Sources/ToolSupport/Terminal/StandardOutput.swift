internal import Foundation
internal import Synchronization

/// Standard output, for commands that print a few lines. What is written by the message goes through ``Output``.
package enum StandardOutput {
    // Lines come from any task.
    private static let failure = Mutex<SystemError?>(nil)

    /// Prints a line, at once. Where that fails nothing more is printed, and ``check()`` says why.
    package static func print(_ line: String) {
        failure.withLock { failure in
            if failure == nil { failure = Output.writeAll(Array("\(line)\n".utf8), to: STDOUT_FILENO) }
        }
    }

    /// - Throws: ``ToolFailure`` where something could not be printed; not where its reader has gone.
    package static func check() throws(ToolFailure) {
        guard let failure = failure.withLock({ $0 }), !failure.isBrokenPipe else { return }
        throw ToolFailure("standard output: \(failure.text)")
    }
}
