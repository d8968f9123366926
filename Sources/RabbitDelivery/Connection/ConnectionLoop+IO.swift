internal import DeliverySystem

/// What the loop does with the socket.
extension ConnectionLoop {
    /// How many reads one turn makes, so that commands and deadlines get theirs between them.
    private static let readsPerTurn = 16

    // MARK: Writing

    func write(at now: Moment) {
        guard let transport else { return }
        if case .connecting = phase { return }
        if case .encrypting = phase { return }
        while wire.backlog > 0 {
            switch wire.withBytes({ transport.write($0) }) {
            case .bytes(let count):
                wire.sent(count)
                heartbeats.noteSent(at: now)
            case .wouldBlock: return
            case .end: return lose(.connectionLost("the broker has closed the connection"), at: now)
            case .failed(let error):
                // What the broker said before it hung up says more than that writing failed.
                read()
                if self.transport === transport { lose(error, at: now) }
                return
            }
        }
    }

    // MARK: Sleeping

    /// Sleeps until something happens.
    ///
    /// - Returns: Whether there may be something to read, or a connection to go on with.
    func sleep(until next: Moment?) -> Bool {
        var descriptors = [pollfd(fd: wakeUp.readEnd, events: Int16(POLLIN), revents: 0)]
        if let transport {
            var events: Int32 = 0
            switch phase {
            case .connecting: events = POLLOUT
            case .encrypting: events = tlsWaitsForWriting ? POLLOUT : POLLIN
            default:
                events = POLLIN
                if transport.readWaitsForWriting || (wire.backlog > 0 && !transport.writeWaitsForReading) {
                    events |= POLLOUT
                }
            }
            descriptors.append(pollfd(fd: transport.descriptor, events: Int16(truncatingIfNeeded: events), revents: 0))
        }
        var timeout: Int32 = -1
        if let next {
            // Rounded up: a turn too early would find nothing to do, and come again at once.
            let left = Moment.now.duration(to: next) / .milliseconds(1)
            timeout = left <= 0 ? 0 : Int32(min(left.rounded(.up), 3_600_000))
        }
        let count = poll(&descriptors, nfds_t(descriptors.count), timeout)
        isRung = count > 0 && descriptors[0].revents != 0
        return count > 0 && descriptors.count > 1 && descriptors[1].revents != 0
    }

    // MARK: Reading

    func read() {
        let now = Moment.now
        switch phase {
        case .connecting(let transport, let host, let deadline):
            if let error = transport.connected() { return attemptFailed(error, at: now) }
            guard let tls else { return beginGreeting(transport, host, until: deadline) }
            do throws(RabbitError) {
                try transport.encrypt(tls, host: host.name)
                phase = .encrypting(transport, host, until: deadline)
                goOnEncrypting(transport, host, deadline, now)
            } catch {
                attemptFailed(error, at: now)
            }
        case .encrypting(let transport, let host, let deadline): goOnEncrypting(transport, host, deadline, now)
        case .greeting(let transport, _, _, _), .settingUp(let transport, _, _, _), .open(let transport, _),
            .closing(let transport, _):
            readFrames(transport, now)
            client.endOfInput()
        case .waiting, .lookingUp, .ended: break
        }
    }

    private func goOnEncrypting(_ transport: Transport, _ host: RabbitHost, _ deadline: Moment, _ now: Moment) {
        switch transport.handshake() {
        case .bytes: beginGreeting(transport, host, until: deadline)
        case .wouldBlock(let onWriting): tlsWaitsForWriting = onWriting
        case .end: attemptFailed(.connectionLost("the broker hung up in the TLS greeting"), at: now)
        case .failed(let error): attemptFailed(error, at: now)
        }
    }

    private func readFrames(_ transport: Transport, _ now: Moment) {
        for _ in 0..<Self.readsPerTurn {
            let space = splitter.space()
            let result = transport.read(into: space)
            switch result {
            case .bytes(let count):
                splitter.received(count)
                heartbeats.noteReceived(at: now)
                do throws(RabbitError) {
                    try takeFrames(transport, now)
                } catch {
                    return lose(error, at: now)
                }
                // The phase may have gone on to another connection, or to the end.
                guard self.transport === transport else { return }
                // A short read of a plain socket has emptied it.
                if tls == nil, count < space.count { return }
            case .wouldBlock: return
            case .end:
                if case .greeting(_, _, let handshake, _) = phase {
                    return attemptFailed(handshake.endOfStream, at: now)
                }
                return lose(.connectionLost("the broker has closed the connection"), at: now)
            case .failed(let error):
                if case .greeting(_, _, let handshake, _) = phase, handshake.endOfStream.kind == .authentication,
                    error.kind == .connectionLost
                {
                    return attemptFailed(handshake.endOfStream, at: now)
                }
                return lose(error, at: now)
            }
        }
    }

    private func takeFrames(_ transport: Transport, _ now: Moment) throws(RabbitError) {
        while self.transport === transport, let frame = try splitter.next() {
            pool.recycle()
            // Deliveries that were on their way when the end began: their methods are left out, and so is what follows them.
            if case .closing = phase, frame.kind == .header || frame.kind == .body { continue }
            switch frame.kind {
            case .heartbeat: break
            case .method:
                let method = try ServerMethod(frame.payload, pool: pool, recent: recentNames)
                if frame.channel == 0 {
                    try connectionMethod(method, transport, now)
                } else {
                    try channelMethod(method, frame.channel, transport, now)
                }
            case .header:
                guard frame.channel == Wire.channel else {
                    throw .protocolViolation("a header on channel \(frame.channel)")
                }
                if let (method, content) = try assembler.header(frame.payload, pool: pool) {
                    try client.received(method, content, wire)
                }
            case .body:
                guard frame.channel == Wire.channel else {
                    throw .protocolViolation("a body on channel \(frame.channel)")
                }
                if let (method, content) = try assembler.body(frame.payload) {
                    try client.received(method, content, wire)
                }
            }
        }
    }

    private func connectionMethod(
        _ method: ServerMethod,
        _ transport: Transport,
        _ now: Moment
    ) throws(RabbitError) {
        if case .greeting(let transport, let host, var handshake, let deadline) = phase {
            let actions: [Handshake.Action]
            do throws(RabbitError) {
                actions = try handshake.advance(method)
            } catch {
                return attemptFailed(error, at: now)
            }
            phase = .greeting(transport, host, handshake, until: deadline)
            for action in actions {
                switch action {
                case .send(let method): wire.send(method, channel: 0)
                case .tune(let frameMaximum, let heartbeat):
                    splitter.maximum = frameMaximum
                    wire.frameMaximum = frameMaximum
                    heartbeats = Heartbeats(seconds: heartbeat, at: now)
                case .done: beginSetup(transport, host)
                }
            }
            return
        }
        switch method {
        case .connectionClose(let closing):
            wire.send(.connectionCloseOk, channel: 0)
            write(at: now)
            guard self.transport === transport else { return }
            if case .settingUp = phase {
                // An exchange of an unknown kind closes the connection, for instance.
                let error = RabbitError.setupReply(closing.code, closing.text, closing: .connectionLost)
                if error.recovery != .retry { return attemptFailed(error, at: now) }
                return lose(error, at: now)
            }
            lose(.reply(closing.code, closing.text, closing: .connectionLost), at: now)
        case .connectionCloseOk:
            transport.sayGoodBye()
            if case .closing = phase { phase = .ended }
        case .blocked(let reason):
            blockage.isConnectionBlocked = true
            client.note(.blocked(reason: reason))
        case .unblocked:
            blockage.isConnectionBlocked = false
            if !blockage.isBlocked { client.note(.unblocked) }
        default: throw .protocolViolation("the broker said \(method) on channel 0")
        }
    }

    private func keepFlow(_ isActive: Bool) {
        wire.send(.channelFlowOk(isActive: isActive))
        guard blockage.isChannelStopped == isActive else { return }
        blockage.isChannelStopped = !isActive
        if !isActive {
            client.note(.blocked(reason: "channel.flow"))
        } else if !blockage.isBlocked {
            client.note(.unblocked)
        }
    }

    private func channelMethod(
        _ method: ServerMethod,
        _ channel: UInt16,
        _ transport: Transport,
        _ now: Moment
    ) throws(RabbitError) {
        guard channel == Wire.channel else {
            throw .protocolViolation("the broker said something on channel \(channel)")
        }
        switch (phase, method) {
        case (.closing, _): break
        case (.settingUp(_, let host, var setup, _), _):
            do throws(RabbitError) {
                if let next = try setup.advance(method) {
                    wire.send(next)
                    // Each answer has the time anew: how many requests there are is the topology's affair.
                    phase = .settingUp(transport, host, setup, until: now.advanced(by: broker.connectionTimeout))
                } else {
                    finishSetup(transport, host, setup)
                }
            } catch {
                if error.recovery == .retry { lose(error, at: now) } else { attemptFailed(error, at: now) }
            }
        case (.open(_, let host), .channelClose(let closing)): channelClosed(closing, transport, host)
        case (.open, .deliver), (.open, .returned): try assembler.begin(method)
        case (.open, .channelFlow(let isActive)): keepFlow(isActive)
        case (.open, _): try client.received(method, nil, wire)
        default: throw .protocolViolation("the broker said \(method) before the channel was open")
        }
    }
}
