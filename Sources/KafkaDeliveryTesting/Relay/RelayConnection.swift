internal import DeliverySystem

/// One connection through a relay: two sockets, what waits between them, and the filter that decides. Used on the
/// relay's thread only, which is its owner.
final class RelayConnection {
    typealias Instant = ContinuousClock.Instant

    private struct End {
        let descriptor: Int32
        /// It says that it writes nothing more.
        var isFinished = false
        /// It was told that nothing more will be written to it.
        var isTold = false
        /// The system took less than there was.
        var isBlocked = false
    }

    private var client: End
    private var broker: End
    private let filter: any RelayFilter
    private var pipes = RelayPipes()
    private var isConnecting = true
    /// The client's end is broken: nothing that is said to it is heard. What it had said is still passed on, as a network
    /// does, and the broker's end is kept for as long as the filter needs it.
    private var isClientGone = false

    init(client: Int32, broker: Int32, filter: any RelayFilter) {
        self.client = End(descriptor: client)
        self.broker = End(descriptor: broker)
        self.filter = filter
    }

    deinit {
        filter.close()
        // The broker first: a client that comes back at once finds it told of the end. A mock broker ends the process where a member
        // joins again while the connection of its join is open.
        Socket.close(broker.descriptor)
        Socket.close(client.descriptor)
    }

    func descriptor(_ side: RelaySide) -> Int32 {
        self[side].descriptor
    }

    /// What `poll` is to look for at one end; 0 for nothing.
    func interest(_ side: RelaySide) -> Int16 {
        var events: Int16 = 0
        if side == .broker, isConnecting { return Int16(POLLOUT) }
        if !self[side].isFinished, pipes.end == nil, !pipes[to: side.other].isFull, filter.mayRead(from: side) {
            events |= Int16(POLLIN)
        }
        if self[side].isBlocked, filter.mayWrite(to: side) {
            events |= Int16(POLLOUT)
        }
        return events
    }

    /// When something has to be done here, whatever happens; nil where nothing has.
    func wakeUp(after now: Instant) -> Instant? {
        let queues = [RelaySide.client, .broker].map { side -> Instant? in
            let canWrite = !self[side].isBlocked && !(side == .broker && isConnecting) && filter.mayWrite(to: side)
            return canWrite ? pipes[to: side].due(now) : nil
        }
        return (queues + [filter.wakeUp(after: now)]).compactMap(\.self).min()
    }

    /// `poll` says that something can be done at one end.
    func handle(_ side: RelaySide, _ events: Int16, at now: Instant, _ buffer: UnsafeMutableRawBufferPointer) {
        let interest = interest(side)
        if side == .broker, isConnecting {
            guard Socket.isConnected(broker.descriptor) else { return pipes.cut() }
            isConnecting = false
            return
        }
        self[side].isBlocked = false
        // An error shows when reading, or when writing.
        guard interest & Int16(POLLIN) != 0, events & ~Int16(POLLOUT) != 0 else { return }
        switch Socket.read(descriptor(side), into: buffer) {
        case .count(let count):
            filter.receive(.init(rebasing: buffer.prefix(count)), from: side, at: now, into: &pipes)
        case .end:
            self[side].isFinished = true
            if side == .broker { filter.brokerIsFinished(&pipes) }
        case .failure:
            // Read to the end: what came before the failure was handed out before it.
            self[side].isFinished = true
            breakDown(side)
        case .wouldBlock: break
        }
    }

    /// Writes what is due.
    ///
    /// - Returns: Whether the connection goes on.
    func advance(at now: Instant) -> Bool {
        filter.advance(at: now, &pipes)
        write(to: .client, at: now)
        if !isConnecting { write(to: .broker, at: now) }
        // The broker is told only when all is written, and says that it has finished when it has read that.
        if isClientGone, client.isFinished, broker.isFinished, !filter.needsBroker { return false }
        switch pipes.end {
        case nil: return !(client.isTold && broker.isTold)
        case .cut: return false
        case .closing: return !(pipes.toBroker.isEmpty && pipes.toClient.isEmpty)
        }
    }

    private func write(to side: RelaySide, at now: Instant) {
        guard pipes.end != .cut, !self[side].isBlocked, filter.mayWrite(to: side) else { return }
        if side == .client, isClientGone {
            pipes.toClient = RelayQueue()
            return
        }
        let descriptor = descriptor(side)
        switch pipes[to: side].write(at: now, { Socket.write(descriptor, $0) }) {
        case .wouldBlock: self[side].isBlocked = true
        case .failure, .end: breakDown(side)
        case .count:
            // All is said that the other end had to say.
            guard self[side.other].isFinished, !self[side].isTold, pipes[to: side].isEmpty else { return }
            if side == .broker, filter.needsBroker { return }
            self[side].isTold = true
            Socket.finishWriting(descriptor)
        }
    }

    private func breakDown(_ side: RelaySide) {
        guard side == .client else { return pipes.cut() }
        filter.clientIsGone()
        isClientGone = true
    }

    private subscript(_ side: RelaySide) -> End {
        get { side == .client ? client : broker }
        set {
            switch side {
            case .client: client = newValue
            case .broker: broker = newValue
            }
        }
    }
}
