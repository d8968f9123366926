#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#endif

/// Wakes a thread out of `poll`: a byte in a pipe.
struct WakePipe: ~Copyable, Sendable {
    let reading: Int32
    private let writing: Int32

    /// Nil where the system has no descriptors left.
    init?() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        reading = ends[0]
        writing = ends[1]
    }

    deinit {
        close(reading)
        close(writing)
    }

    /// From any thread. A full pipe has rung already.
    borrowing func ring() {
        var byte: UInt8 = 0
        _ = write(writing, &byte, 1)
    }

    /// On the thread that is woken.
    borrowing func drain() {
        var bytes = [UInt8](repeating: 0, count: 64)
        while read(reading, &bytes, bytes.count) == bytes.count {}
    }

    /// Waits for a ring, or for the socket.
    ///
    /// - Parameters:
    ///   - socket: -1 for none.
    ///   - deadline: Until when; nil for as long as it takes.
    /// - Returns: What the socket is ready for.
    borrowing func wait(
        socket: Int32,
        reads: Bool,
        writes: Bool,
        until deadline: ContinuousClock.Instant?
    ) -> (canRead: Bool, canWrite: Bool) {
        let events = Int16(reads ? POLLIN : 0) | Int16(writes ? POLLOUT : 0)
        var entries = [
            pollfd(fd: reading, events: Int16(POLLIN), revents: 0),
            pollfd(fd: socket, events: events, revents: 0),
        ]
        let left = deadline.map { ContinuousClock.now.duration(to: $0).components }
        // Rounded up, or the last millisecond would be spent turning round.
        let milliseconds = left.map { max(0, $0.seconds) * 1_000 + max(0, $0.attoseconds) / 1_000_000_000_000_000 + 1 }
        guard poll(&entries, 2, Int32(clamping: milliseconds ?? -1)) > 0 else { return (false, false) }
        if entries[0].revents != 0 { drain() }
        let ready = entries[1].revents
        let isBroken = ready & Int16(POLLERR | POLLHUP | POLLNVAL) != 0
        return (ready & Int16(POLLIN) != 0 || isBroken, ready & Int16(POLLOUT) != 0 || isBroken)
    }
}
