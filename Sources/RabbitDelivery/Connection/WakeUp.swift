internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Wakes a thread that sleeps in `poll`: a pipe. The owner of its descriptors.
final class WakeUp: Sendable {
    let readEnd: Int32
    private let writeEnd: Int32
    /// Set from the first wake-up until the thread wakes, so that a burst of them is one write.
    private let isRung = Atomic(false)

    /// - Returns: Nil where the system has no descriptors left.
    init?() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        readEnd = ends[0]
        writeEnd = ends[1]
    }

    deinit {
        _ = close(readEnd)
        _ = close(writeEnd)
    }

    /// Wakes the thread, from any.
    func ring() {
        guard !isRung.exchange(true, ordering: .acquiringAndReleasing) else { return }
        var byte: UInt8 = 0
        _ = write(writeEnd, &byte, 1)
    }

    /// The thread is awake, and looks at everything after this.
    ///
    /// - Parameter isReadable: Whether `poll` found the pipe readable. Its byte may come after the thread woke for something else and
    ///   cleared the mark: not read then, it would end every further sleep at once.
    func clear(isReadable: Bool) {
        guard isReadable || isRung.load(ordering: .acquiring) else { return }
        var bytes: (UInt64, UInt64) = (0, 0)
        _ = withUnsafeMutableBytes(of: &bytes) { read(readEnd, $0.baseAddress, $0.count) }
        _ = isRung.exchange(false, ordering: .acquiringAndReleasing)
    }

    /// Keeps SIGPIPE from the calling thread for good, where a socket has no option against it: OpenSSL writes with `write`.
    static func blockBrokenPipes() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }
}
