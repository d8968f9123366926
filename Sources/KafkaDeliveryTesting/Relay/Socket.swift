#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#endif

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
        guard isBound, isNamed == 0, systemListen(descriptor, 128) == 0, let own else {
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
        if address.withPointer({ systemConnect(descriptor, $0, $1) }) == 0 { return 0 }
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
            let descriptor = systemAccept(listener)
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
        #if canImport(Darwin)
            let flags: Int32 = 0
        #else
            let flags = Int32(MSG_NOSIGNAL)
        #endif
        let count = send(descriptor, bytes.baseAddress, bytes.count, flags)
        if count >= 0 { return .count(count) }
        return isTransient(errno) ? .wouldBlock : .failure
    }

    /// Says that nothing more will be written.
    static func finishWriting(_ descriptor: Int32) {
        shutdown(descriptor, Int32(SHUT_WR))
    }

    static func close(_ descriptor: Int32) {
        systemClose(descriptor)
    }

    private static func isTransient(_ code: Int32) -> Bool {
        code == EAGAIN || code == EWOULDBLOCK || code == EINTR
    }

    private static func open(family: Int32) -> Int32? {
        #if canImport(Glibc)
            // At once, because another thread may start a program between two calls.
            let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        #elseif canImport(Musl)
            let kind = SOCK_STREAM | SOCK_CLOEXEC
        #else
            let kind = SOCK_STREAM
        #endif
        let descriptor = socket(family, kind, 0)
        guard descriptor >= 0 else { return nil }
        prepare(descriptor)
        return descriptor
    }

    private static func prepare(_ descriptor: Int32) {
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        var yes: Int32 = 1
        // What arrives goes on at once; it is the faults that make it late.
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        #if canImport(Darwin)
            setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &yes, socklen_t(MemoryLayout<Int32>.size))
        #endif
    }
}

// C's functions, which have namesakes above.

private func systemListen(_ descriptor: Int32, _ backlog: Int32) -> Int32 {
    listen(descriptor, backlog)
}

private func systemConnect(_ descriptor: Int32, _ address: UnsafePointer<sockaddr>, _ count: socklen_t) -> Int32 {
    connect(descriptor, address, count)
}

private func systemAccept(_ descriptor: Int32) -> Int32 {
    accept(descriptor, nil, nil)
}

@discardableResult
private func systemClose(_ descriptor: Int32) -> Int32 {
    close(descriptor)
}
