internal import Foundation
internal import Synchronization

/// Standard error, shared by sentences and a status line that is drawn over and over.
package enum StandardError {
    // Sentences come from any task, the status line from a timer.
    private static let status = Mutex("")

    package static let isTerminal = isatty(STDERR_FILENO) == 1

    /// A sentence under the tool's name.
    package static func say(_ sentence: String) {
        write("\(Platform.toolName): \(sentence)\n")
    }

    /// Text as it is, with its line breaks. A status line gives way and comes back under it.
    package static func write(_ text: String) {
        status.withLock { status in
            put(status.isEmpty ? text : "\r\u{1B}[K" + text + status)
        }
    }

    /// Draws the status line, in one write so that it does not flicker; an empty one takes it away.
    package static func show(status line: String) {
        status.withLock { status in
            guard line != status else { return }
            status = line
            put("\r\u{1B}[K" + line)
        }
    }

    /// Nothing can be done, and nothing said, where standard error itself cannot be written.
    private static func put(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { systemWrite(STDERR_FILENO, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}
