import Foundation
import KafkaDelivery

/// Why the tool ends without having done everything: a sentence for a person, and the exit status.
struct ToolFailure: Error, Equatable {
    /// One sentence or a few, without the tool's name.
    let sentence: String
    let status: Int32

    init(_ sentence: String, status: Int32 = 1) {
        self.sentence = sentence
        self.status = status
    }

    /// The library's error in the words of the command line.
    init(_ error: KafkaError) {
        self.init(error.sentence)
    }

    static let interruptedStatus: Int32 = 128
}

extension KafkaError {
    /// What happened, and librdkafka's name of it.
    var sentence: String {
        let reason = reason.replacing("cannot be among additionalProperties", with: "cannot be set with -X")
        return reason + (code.map { " (\($0))" } ?? "")
    }
}

/// What a system call answered.
struct SystemError: Error, Equatable {
    let code: Int32

    init(code: Int32) {
        self.code = code
    }

    /// The reason of the call that failed last on this thread.
    static var last: SystemError { SystemError(code: errno) }

    /// Nobody reads what is written any more.
    var isBrokenPipe: Bool { code == EPIPE }

    /// Not the system's: whoever waited was told to stop.
    static let stopped = SystemError(code: ECANCELED)

    /// The system's own words: `No space left on device`.
    var text: String {
        strerror(code).map { String(cString: $0) } ?? "error \(code)"
    }
}

/// Puts `/dev/null` where standard input, output or error is closed. A file opened later would otherwise take its
/// number, and its place.
func fillStandardDescriptors() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) == -1 {
        _ = open("/dev/null", O_RDWR)
    }
}

/// A reader that goes away is then an error of the write (EPIPE) and not the end of the process.
func ignoreBrokenPipes() {
    signal(SIGPIPE, SIG_IGN)
}

/// Ends the process, which is how every command ends.
///
/// A client that could not be closed in time may still be in a TLS handshake on a thread of librdkafka's, and what OpenSSL does
/// at `exit` would end the process with SIGSEGV in place of the status. Then it ends without what others have registered for
/// its end; what the tool writes is written already.
func endProcess(status: Int32) -> Never {
    if LiveClients.isEmpty { exit(status) }
    fflush(nil)
    _exit(status)
}
