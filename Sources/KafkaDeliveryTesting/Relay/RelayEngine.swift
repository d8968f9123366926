internal import DeliveryCore
internal import KafkaDelivery
internal import Synchronization

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
    private let bell: WakePipe
    // Threads that open ports, ring or stop meet the engine's thread here. Nothing is called that could wait while it is held.
    private let state = Mutex(State())

    /// - Parameters:
    ///   - name: The thread's.
    ///   - makeFilter: Called on the relay's thread for each connection.
    /// - Returns: Nil where the system has no thread or no descriptors left.
    init?(name: String, makeFilter: @escaping @Sendable () -> any RelayFilter) {
        guard let bell = WakePipe() else { return nil }
        self.bell = bell
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
            bell.ring()
            return address
        }
    }

    /// Makes the thread call ``RelayFilter/advance(at:_:)`` of every connection.
    func ring() {
        bell.ring()
    }

    /// Ends the thread, closes all connections and ports. Does not wait.
    func stop() {
        state.withLock { state in
            state.isStopping = true
            bell.ring()
        }
    }

    /// Ends everything, and waits until that is done.
    func stopAndWait() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                state.isStopping = true
                bell.ring()
                if !state.hasEnded { state.waiters.append(continuation) }
                return state.hasEnded
            }
            if isOver { continuation.resume() }
        }
    }

    private func run() {
        var loop = RelayLoop(bell: bell, makeFilter: makeFilter)
        while let arrivals = takeArrivals() {
            loop.runOnce(arrivals)
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
            return (state.waiters, state.arrivals)
        }
        for listener in arrivals { Socket.close(listener.descriptor) }
        for waiter in waiters { waiter.resume() }
    }
}
