internal import DeliveryCore
internal import DeliverySystem

extension WakePipe {
    /// Waits for a ring, or for the socket.
    ///
    /// - Parameters:
    ///   - socket: -1 for none.
    ///   - deadline: Until when; nil for as long as it takes.
    /// - Returns: What the socket is ready for.
    func wait(
        socket: Int32,
        reads: Bool,
        writes: Bool,
        until deadline: ContinuousClock.Instant?
    ) -> (canRead: Bool, canWrite: Bool) {
        let events = Int16(reads ? POLLIN : 0) | Int16(writes ? POLLOUT : 0)
        var entries = [
            pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0),
            pollfd(fd: socket, events: events, revents: 0),
        ]
        let left = deadline.map { ContinuousClock.now.duration(to: $0).asWait.components }
        // Rounded up, or the last millisecond would be spent turning round.
        let milliseconds = left.map { $0.seconds * 1_000 + $0.attoseconds / 1_000_000_000_000_000 + 1 }
        guard poll(&entries, 2, Int32(clamping: milliseconds ?? -1)) > 0 else { return (false, false) }
        if entries[0].revents != 0 { clear(isReadable: true) }
        let ready = entries[1].revents
        let isBroken = ready & Int16(POLLERR | POLLHUP | POLLNVAL) != 0
        return (ready & Int16(POLLIN) != 0 || isBroken, ready & Int16(POLLOUT) != 0 || isBroken)
    }
}
