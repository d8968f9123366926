internal import KafkaDelivery
internal import Synchronization

#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#endif

/// Listens on loopback, one port for each address that is meant, and passes bytes on through a ``RelayFilter`` for each
/// connection. One thread does it all; it ends with ``stop()``, and everything with it.
final class RelayEngine: Sendable {
    struct Listener {
        let descriptor: Int32
        let target: SocketAddress
    }

    private struct State {
        /// Where each address is listened for.
        var addresses: [SocketAddress: SocketAddress] = [:]
        /// Listeners that the thread does not know yet.
        var arrivals: [Listener] = []
        var isStopping = false
        var hasEnded = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let makeFilter: @Sendable () -> any RelayFilter
    /// A pipe: a byte in it wakes the thread.
    private let bell: (read: Int32, write: Int32)
    // Threads that open ports, ring or stop meet the engine's thread here. Nothing is called that could wait while it is held.
    private let state = Mutex(State())

    /// - Parameters:
    ///   - name: The thread's.
    ///   - makeFilter: Called on the relay's thread for each connection.
    /// - Returns: Nil where the system has no thread or no descriptors left.
    init?(name: String, makeFilter: @escaping @Sendable () -> any RelayFilter) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        self.bell = (ends[0], ends[1])
        self.makeFilter = makeFilter
        guard BlockingThread.start(name, { self.run() }) else {
            close()
            return nil
        }
    }

    /// Where to connect to instead of `target`. The port is opened the first time, and stays.
    ///
    /// - Returns: Nil where the relay has been stopped, or the system has no port or descriptor left.
    func address(for target: SocketAddress) -> SocketAddress? {
        state.withLock { state in
            guard !state.isStopping else { return nil }
            if let address = state.addresses[target] { return address }
            guard let (descriptor, address) = Socket.listen(family: target.family) else { return nil }
            state.addresses[target] = address
            state.arrivals.append(Listener(descriptor: descriptor, target: target))
            ring(state)
            return address
        }
    }

    /// Makes the thread call ``RelayFilter/advance(at:_:)`` of every connection.
    func ring() {
        state.withLock { ring($0) }
    }

    /// Ends the thread, closes all connections and ports. Does not wait.
    func stop() {
        state.withLock { state in
            state.isStopping = true
            ring(state)
        }
    }

    /// Ends everything, and waits until that is done.
    func stopAndWait() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                state.isStopping = true
                ring(state)
                if !state.hasEnded { state.waiters.append(continuation) }
                return state.hasEnded
            }
            if isOver { continuation.resume() }
        }
    }

    /// Under the lock, so that the pipe is not closed meanwhile. A full pipe has rung already.
    private func ring(_ state: borrowing State) {
        guard !state.hasEnded else { return }
        var byte: UInt8 = 0
        _ = write(bell.write, &byte, 1)
    }

    private func run() {
        var loop = RelayLoop(bell: bell.read, makeFilter: makeFilter)
        while let arrivals = takeArrivals() {
            loop.turn(arrivals)
        }
        loop.end()
        close()
    }

    /// Nil where the end has come.
    private func takeArrivals() -> [Listener]? {
        state.withLock { state in
            if state.isStopping { return nil }
            defer { state.arrivals = [] }
            return state.arrivals
        }
    }

    private func close() {
        let (waiters, arrivals) = state.withLock { state in
            state.isStopping = true
            state.hasEnded = true
            defer { (state.waiters, state.arrivals) = ([], []) }
            Socket.close(bell.read)
            Socket.close(bell.write)
            return (state.waiters, state.arrivals)
        }
        for listener in arrivals { Socket.close(listener.descriptor) }
        for waiter in waiters { waiter.resume() }
    }
}
