internal import Foundation

/// What a system call answered.
package struct SystemError: Error, Equatable {
    package let code: Int32

    package init(code: Int32) {
        self.code = code
    }

    /// The reason of the call that failed last on this thread.
    package static var last: SystemError { SystemError(code: errno) }

    /// The reader of what is written has gone.
    package var isBrokenPipe: Bool { code == EPIPE }

    /// Not the system's: the waiting task was told to stop.
    package static let stopped = SystemError(code: ECANCELED)

    /// The system's own words: `No space left on device`.
    package var text: String {
        strerror(code).map { String(cString: $0) } ?? "error \(code)"
    }
}
