internal import Foundation

/// Puts `/dev/null` where standard input, output or error is closed. A file opened later would otherwise take its
/// number, and what is written to that.
package func fillStandardDescriptors() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) == -1 {
        _ = open("/dev/null", O_RDWR)
    }
}

/// A reader that goes away is then an error of the write (EPIPE) and not the end of the process.
package func ignoreBrokenPipes() {
    signal(SIGPIPE, SIG_IGN)
}

/// Ends the process, which is how every command ends.
///
/// - Parameter runsExitHandlers: Whether what libraries registered for the end of the process (`atexit`) runs. Where a thread of a C
///   library may still be in a TLS handshake, what OpenSSL does there would end the process with SIGSEGV in place of the status;
///   what the tool writes is written already.
package func endProcess(status: Int32, runsExitHandlers: Bool = true) -> Never {
    if runsExitHandlers { exit(status) }
    fflush(nil)
    _exit(status)
}
