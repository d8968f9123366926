internal import DeliverySystem

/// TCP sockets that never wait, and that other programs do not inherit.
enum Socket {
    /// What a read or a write came to.
    enum Transfer {
        case count(Int)
        /// Not now.
        case wouldBlock
        /// Nothing more will come.
        case end
        /// The connection is broken.
        case failure
    }

    /// Where a listener is opened, and its address, whose port the system chose.
    static func listen(family: Int32) -> (descriptor: Int32, address: SocketAddress)? {
        guard let address = SocketAddress.loopback(family: family), let descriptor = open(family: family) else {
            return nil
        }
        let isBound = address.withPointer { bind(descriptor, $0, $1) } == 0
        var storage = sockaddr_storage()
        var count = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let isNamed = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &count) }
        }
        let own = withUnsafeBytes(of: &storage) { SocketAddress(.init(rebasing: $0.prefix(Int(count)))) }
        guard isBound, isNamed == 0, DeliverySystem.listen(descriptor, 128) == 0, let own else {
            close(descriptor)
            return nil
        }
        return (descriptor, own)
    }

    /// Begins to connect. Nil where that fails at once.
    static func connect(to address: SocketAddress) -> Int32? {
        guard let descriptor = open(family: address.family) else { return nil }
        guard connect(descriptor, to: address) == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    /// Connects a socket that is there.
    ///
    /// - Returns: 0 where it is connected or on its way, otherwise `errno`.
    static func connect(_ descriptor: Int32, to address: SocketAddress) -> Int32 {
        if address.withPointer({ DeliverySystem.connect(descriptor, $0, $1) }) == 0 { return 0 }
        // A connect that a signal interrupts goes on by itself.
        return errno == EINPROGRESS || errno == EINTR ? 0 : errno
    }

    /// Whether a socket that was on its way is connected.
    static func isConnected(_ descriptor: Int32) -> Bool {
        var error: Int32 = 0
        var count = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &count) == 0 && error == 0
    }

    /// The next connection of a listener.
    ///
    /// - Returns: Nil where there is none, and where the system has no descriptor left.
    static func accept(_ listener: Int32) -> (descriptor: Int32?, isExhausted: Bool) {
        while true {
            let descriptor = DeliverySystem.accept(listener, nil, nil)
            if descriptor >= 0 {
                prepare(descriptor)
                return (descriptor, false)
            }
            switch errno {
            case EINTR, ECONNABORTED: continue
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return (nil, true)
            default: return (nil, false)
            }
        }
    }

    static func read(_ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
        if count > 0 { return .count(count) }
        if count == 0 { return .end }
        return isTransient(errno) ? .wouldBlock : .failure
    }

    static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Transfer {
        let count = StreamSocket.write(descriptor, bytes)
        if count >= 0 { return .count(count) }
        return isTransient(errno) ? .wouldBlock : .failure
    }

    /// Says that nothing more will be written.
    static func finishWriting(_ descriptor: Int32) {
        shutdown(descriptor, Int32(SHUT_WR))
    }

    static func close(_ descriptor: Int32) {
        _ = DeliverySystem.close(descriptor)
    }

    private static func isTransient(_ code: Int32) -> Bool {
        code == EAGAIN || code == EWOULDBLOCK || code == EINTR
    }

    private static func open(family: Int32) -> Int32? {
        let descriptor = StreamSocket.open(family: family)
        guard descriptor >= 0 else { return nil }
        prepare(descriptor)
        return descriptor
    }

    private static func prepare(_ descriptor: Int32) {
        StreamSocket.prepare(descriptor)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        var yes: Int32 = 1
        // What arrives goes on at once; it is the faults that make it late.
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    }
}
