internal import DeliveryCore
internal import DeliverySystem

/// What a ``RelayEngine``'s thread does, and owns.
struct RelayLoop {
    private typealias Instant = ContinuousClock.Instant

    /// How much is read at a time.
    private static let readBytes = 64 << 10
    /// How long nothing is accepted after the system had no descriptor left. Nothing says when it has one again.
    private static let exhaustion = Duration.milliseconds(50)

    private let bell: WakePipe
    private let makeFilter: @Sendable () -> any RelayFilter
    private var listeners: [RelayEngine.Listener] = []
    private var connections: [RelayConnection] = []
    private var descriptors: [pollfd] = []
    private var buffer = [UInt8](repeating: 0, count: Self.readBytes)
    private var acceptsAgain: Instant?

    init(bell: WakePipe, makeFilter: @escaping @Sendable () -> any RelayFilter) {
        self.bell = bell
        self.makeFilter = makeFilter
    }

    /// Does what can be done, and then waits until there is more.
    mutating func runOnce(_ arrivals: [RelayEngine.Listener]) {
        listeners += arrivals
        let now = ContinuousClock.now
        connections.removeAll { !$0.advance(at: now) }
        if let instant = acceptsAgain, instant <= now { acceptsAgain = nil }
        prepareToPoll()
        guard poll(&descriptors, nfds_t(descriptors.count), timeout(now)) > 0 else { return }
        serve()
    }

    /// Closes everything.
    mutating func end() {
        connections = []
        for listener in listeners { Socket.close(listener.descriptor) }
        listeners = []
    }

    private mutating func prepareToPoll() {
        descriptors.removeAll(keepingCapacity: true)
        descriptors.append(pollfd(fd: bell.readEnd, events: Int16(POLLIN), revents: 0))
        for listener in listeners {
            // A negative descriptor is left out.
            let descriptor = acceptsAgain == nil ? listener.descriptor : -1
            descriptors.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0))
        }
        for connection in connections {
            for side in [RelaySide.client, .broker] {
                let events = connection.interest(side)
                // Left out where nothing is wanted: a broken connection would otherwise be reported over and over.
                let descriptor = events == 0 ? -1 : connection.descriptor(side)
                descriptors.append(pollfd(fd: descriptor, events: events, revents: 0))
            }
        }
    }

    /// Milliseconds until something is to be done by the clock, rounded up; -1 for ever.
    private func timeout(_ now: Instant) -> Int32 {
        let wakeUps = connections.compactMap { $0.wakeUp(after: now) } + [acceptsAgain].compactMap(\.self)
        guard let earliest = wakeUps.min() else { return -1 }
        let wait = now.duration(to: earliest)
        guard wait > .zero else { return 0 }
        let milliseconds = (wait + .microseconds(999)) / .milliseconds(1)
        return Int32(min(milliseconds, 3_600_000))
    }

    private mutating func serve() {
        let now = ContinuousClock.now
        if descriptors[0].revents != 0 { bell.clear(isReadable: true) }
        // Connections first: accepting adds to them.
        let first = 1 + listeners.count
        for (index, connection) in connections.enumerated() {
            for (offset, side) in [RelaySide.client, .broker].enumerated() {
                let events = descriptors[first + 2 * index + offset].revents
                guard events != 0 else { continue }
                buffer.withUnsafeMutableBytes { connection.handle(side, events, at: now, $0) }
            }
        }
        for (index, listener) in listeners.enumerated() where descriptors[1 + index].revents != 0 {
            accept(listener)
        }
    }

    private mutating func accept(_ listener: RelayEngine.Listener) {
        while true {
            let (client, isExhausted) = Socket.accept(listener.descriptor)
            if isExhausted { acceptsAgain = .now + Self.exhaustion }
            guard let client else { return }
            guard let broker = Socket.connect(to: listener.target) else {
                Socket.close(client)
                continue
            }
            connections.append(RelayConnection(client: client, broker: broker, filter: makeFilter()))
        }
    }
}
