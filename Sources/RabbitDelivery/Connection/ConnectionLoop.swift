internal import DeliveryCore
internal import DeliverySystem

/// One client's connection, and the next one when it ends: everything that its thread does. Confined to that thread.
///
/// A turn is: commands and deadlines, what the phase needs, writing, sleeping in `poll`, reading. Nothing in it waits: looking a
/// host up, which nothing can bound, has a thread of its own.
final class ConnectionLoop {
    enum Phase {
        /// Until it is tried again.
        case waiting(until: Moment)
        case lookingUp(LookUp, until: Moment)
        case connecting(Transport, RabbitHost, until: Moment)
        case encrypting(Transport, RabbitHost, until: Moment)
        case greeting(Transport, RabbitHost, Handshake, until: Moment)
        case settingUp(Transport, RabbitHost, ChannelSetup, until: Moment)
        case open(Transport, RabbitHost)
        case closing(Transport, until: Moment)
        case ended
    }

    let broker: RabbitBroker
    let client: any ConnectionClient
    let wakeUp: WakePipe
    let connectionName: String
    let tls: TLSContext?

    var phase: Phase
    var rotation: HostRotation
    var delay: ReconnectDelay
    var heartbeats = Heartbeats(seconds: 0, at: .now)
    var splitter = FrameSplitter()
    var assembler = ContentAssembler()
    let pool = AMQPPool()
    let recentNames = RecentNames()
    let wire = Wire()
    /// Whether the last sleep ended with the bell.
    var isRung = false
    /// Whether the TLS greeting goes on when the socket can be written to.
    var tlsWaitsForWriting = false
    /// Why the broker takes no messages, if it does not.
    var blockage = Blockage() {
        didSet { client.setBlocked(blockage.isBlocked) }
    }
    private var generation = 0
    private var openedAt = Moment.now
    private var lastOpen: Moment?
    /// Whether the last channel ended by something that cannot be read: it may come again as soon as there is another, so the pauses go
    /// on growing.
    private var wasUnreadable = false

    /// A connection that ends earlier is a reason to try another host.
    private static let shortLife = Duration.seconds(5)
    /// How long a broker may take to notice that a connection of ours is gone: twice its heartbeat, which is a minute, and some.
    private static let resuming = Duration.seconds(150)

    init(
        _ broker: RabbitBroker,
        hosts: [RabbitHost],
        tls: TLSContext?,
        client: any ConnectionClient,
        wakeUp: WakePipe,
        connectionName: String
    ) {
        self.broker = broker
        self.client = client
        self.wakeUp = wakeUp
        self.connectionName = connectionName
        self.tls = tls
        var generator = SystemRandomNumberGenerator()
        rotation = HostRotation(hosts, using: &generator)
        delay = ReconnectDelay(minimum: broker.minimumReconnectDelay, maximum: broker.maximumReconnectDelay)
        phase = .waiting(until: .now)
    }

    func run() {
        Transport.blockBrokenPipes()
        while true {
            if case .ended = phase { break }
            turn()
        }
        client.ended()
    }

    private func turn() {
        wakeUp.clear(isReadable: isRung)
        let now = Moment.now
        var next = client.advance(isOpen ? wire : nil, at: now)
        if client.wantsEnd { beginEnd(at: now) }
        advancePhase(at: now)
        if case .ended = phase { return }
        write(at: now)
        for moment in [phaseDeadline, transport == nil ? nil : heartbeats.next(isWriting: wire.backlog > 0)] {
            if let moment { next = min(next ?? moment, moment) }
        }
        if sleep(until: next) { read() }
    }

    private var isOpen: Bool {
        if case .open = phase { !wire.isBroken } else { false }
    }

    var transport: Transport? {
        switch phase {
        case .waiting, .lookingUp, .ended: nil
        case .connecting(let transport, _, _), .encrypting(let transport, _, _), .greeting(let transport, _, _, _),
            .settingUp(let transport, _, _, _), .open(let transport, _), .closing(let transport, _):
            transport
        }
    }

    private var phaseDeadline: Moment? {
        switch phase {
        case .open, .ended: nil
        case .waiting(let until), .lookingUp(_, let until), .connecting(_, _, let until), .encrypting(_, _, let until),
            .greeting(_, _, _, let until), .settingUp(_, _, _, let until), .closing(_, let until):
            until
        }
    }

    // MARK: Phases

    private func advancePhase(at now: Moment) {
        if let phaseDeadline, now >= phaseDeadline {
            switch phase {
            case .waiting: tryNext(at: now)
            case .closing: phase = .ended
            default: attemptFailed(.connectionLost("connecting took longer than \(broker.connectionTimeout)"), at: now)
            }
        }
        if case .lookingUp(let lookUp, _) = phase, let result = lookUp.result {
            switch result {
            case .success(let addresses):
                rotation.found(addresses)
                tryNext(at: now)
            case .failure(let error): attemptFailed(error, at: now)
            }
        }
        if wire.isBroken { lose(.protocolViolation("a request does not fit into a frame"), at: now) }
        guard transport != nil else { return }
        if isOpen, let fault = client.connectionFault { return lose(fault, at: now) }
        if heartbeats.isSilent(at: now) {
            lose(.connectionLost("the broker has said nothing for two heartbeats"), at: now)
        } else if heartbeats.isDue(at: now), wire.backlog == 0 {
            wire.heartbeat()
        }
    }

    /// Connects, looks the next host up, or waits.
    private func tryNext(at now: Moment) {
        let deadline = now.advanced(by: broker.connectionTimeout)
        switch rotation.next() {
        case .connect(let address, let host):
            do throws(RabbitError) {
                phase = .connecting(try Transport(connectingTo: address), host, until: deadline)
            } catch {
                attemptFailed(error, at: now)
            }
        case .lookUp(let host):
            if let lookUp = LookUp.start(host, wakeUp) {
                phase = .lookingUp(lookUp, until: deadline)
            } else {
                attemptFailed(.connectionLost("the system has no thread left to look \(host.name) up"), at: now)
            }
        case .wait(let error):
            let delay = delay.next()
            client.note(.connectionFailed(error, retryAfter: delay))
            phase = .waiting(until: now.advanced(by: delay))
        case .giveUp(let error): giveUp(error)
        }
    }

    /// One address, or one look-up, did not come to a connection.
    func attemptFailed(_ error: RabbitError, at now: Moment) {
        resetProtocol()
        if error.recovery != .retry, error.kind != .certificate { return giveUp(error) }
        rotation.failed(error)
        phase = .waiting(until: now)
        tryNext(at: now)
    }

    private func giveUp(_ error: RabbitError) {
        phase = .ended
        client.note(.failed(error))
        client.failed(error)
    }

    /// The connection is over.
    func lose(_ error: RabbitError, at now: Moment) {
        switch phase {
        case .open, .settingUp:
            var heldLong = false
            if case .open = phase {
                lastOpen = now
                heldLong = openedAt.duration(to: now) >= Self.shortLife
            }
            if !heldLong { rotation.failed(error) }
            wasUnreadable = error.kind == .protocolViolation
            resetProtocol()
            client.channelLost(error)
            // While it was set up the client was not told of a connection.
            client.note(.disconnected(error))
            // A restarted broker, or another node, may be there at once; if not, that is an attempt that fails.
            phase = .waiting(until: now.advanced(by: delay.next()))
        case .closing: phase = .ended
        case .waiting, .ended: break
        default: attemptFailed(error, at: now)
        }
    }

    private func resetProtocol() {
        splitter = FrameSplitter()
        assembler = ContentAssembler()
        wire.reset()
        // The next connection has said nothing yet, and agrees on its own.
        heartbeats = Heartbeats(seconds: 0, at: .now)
        blockage = Blockage()
    }

    private func beginEnd(at now: Moment) {
        switch phase {
        case .open(let transport, _):
            wire.send(.connectionClose(code: 200, text: "closing"), channel: 0)
            // The broker answers at once, unless it is frozen or blocks: then the socket's end has to do.
            phase = .closing(transport, until: now.advanced(by: .milliseconds(500)))
        case .closing, .ended: break
        default: phase = .ended
        }
    }

    // MARK: What the phases go through

    /// The socket is connected.
    func beginGreeting(_ transport: Transport, _ host: RabbitHost, until deadline: Moment) {
        resetProtocol()
        wire.greet()
        phase = .greeting(transport, host, Handshake(broker, connectionName: connectionName), until: deadline)
    }

    func beginSetup(_ transport: Transport, _ host: RabbitHost) {
        assembler = ContentAssembler()
        let isResuming = lastOpen.map { $0.duration(to: .now) < Self.resuming } ?? false
        let setup = ChannelSetup(client.channelRequests, isResuming: isResuming)
        wire.send(setup.first)
        phase = .settingUp(transport, host, setup, until: Moment.now.advanced(by: broker.connectionTimeout))
    }

    func finishSetup(_ transport: Transport, _ host: RabbitHost, _ setup: ChannelSetup) {
        generation += 1
        rotation.connected()
        if !wasUnreadable { delay.reset() }
        openedAt = .now
        phase = .open(transport, host)
        client.channelOpened(generation, setup, wire)
        client.note(.connected(host: "\(host)", generation: generation))
    }

    /// The broker has closed the channel: what was outstanding on it is lost, and the next one is opened.
    func channelClosed(_ closing: ServerMethod.Closing, _ transport: Transport, _ host: RabbitHost) {
        let error = RabbitError.reply(closing.code, closing.text, closing: .channelClosed)
        wire.send(.channelCloseOk)
        blockage.isChannelStopped = false
        client.channelLost(error)
        client.note(.channelClosed(error))
        beginSetup(transport, host)
    }
}

/// What a broker has against messages: two things, each of which it takes back by itself. A value.
struct Blockage {
    /// It is short of memory or disk space (`connection.blocked`).
    var isConnectionBlocked = false
    /// It has stopped the channel (`channel.flow`, which RabbitMQ has not sent since 2.0).
    var isChannelStopped = false

    var isBlocked: Bool { isConnectionBlocked || isChannelStopped }
}

/// A host that is looked up, on a thread of its own.
final class LookUp: Sendable {
    private let found = Mailbox<Result<[SocketAddress], RabbitError>>()

    /// - Returns: Nil where the system has no thread left.
    static func start(_ host: RabbitHost, _ wakeUp: WakePipe) -> LookUp? {
        let lookUp = LookUp()
        let isStarted = BlockingThread.start("rabbit-lookup") {
            lookUp.found.put(SocketAddress.lookUp(host))
            wakeUp.ring()
        }
        return isStarted ? lookUp : nil
    }

    var result: Result<[SocketAddress], RabbitError>? { found.value }
}
