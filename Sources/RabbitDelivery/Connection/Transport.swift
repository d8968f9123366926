internal import DeliverySystem

/// A socket that does not block, and its encryption. Confined to the connection's thread; the owner of the descriptor.
final class Transport {
    let descriptor: Int32
    private var session: TLSSession?
    /// What the last read or write waits for besides what it is: with TLS each may wait for the other.
    private(set) var readWaitsForWriting = false
    private(set) var writeWaitsForReading = false

    /// Begins to connect.
    ///
    /// - Throws: ``RabbitError`` where the system has no socket, or says at once that it cannot be done.
    init(connectingTo address: SocketAddress) throws(RabbitError) {
        let descriptor = StreamSocket.open(family: address.family)
        guard descriptor >= 0 else { throw .connectionLost("there is no socket: \(Self.text(errno))") }
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        if address.connect(descriptor) != 0, errno != EINPROGRESS, errno != EINTR {
            throw .connectionLost("connecting failed: \(Self.text(errno))")
        }
    }

    deinit {
        session = nil
        _ = close(descriptor)
    }

    /// Whether it is connected, once the socket can be written to; why not otherwise.
    func connected() -> RabbitError? {
        var error: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size) == 0 else {
            return .connectionLost("connecting failed: \(Self.text(errno))")
        }
        return error == 0 ? nil : .connectionLost("connecting failed: \(Self.text(error))")
    }

    /// Encrypts from now on.
    func encrypt(_ context: TLSContext, host: String) throws(RabbitError) {
        session = try TLSSession(context, socket: descriptor, host: host)
    }

    /// Goes on with the TLS greeting.
    func handshake() -> TransferResult {
        session?.handshake() ?? .bytes(0)
    }

    func read(into target: UnsafeMutableRawBufferPointer) -> TransferResult {
        readWaitsForWriting = false
        guard let session else {
            let count = recv(descriptor, target.baseAddress, target.count, 0)
            return Self.outcome(count, onWriting: false)
        }
        let result = session.read(into: target)
        if case .wouldBlock(true) = result { readWaitsForWriting = true }
        return result
    }

    func write(_ source: UnsafeRawBufferPointer) -> TransferResult {
        writeWaitsForReading = false
        guard let session else {
            return Self.outcome(StreamSocket.write(descriptor, source), onWriting: true)
        }
        let result = session.write(source)
        if case .wouldBlock(false) = result { writeWaitsForReading = true }
        return result
    }

    func sayGoodBye() {
        session?.close()
    }

    /// Keeps SIGPIPE from the calling thread for good: OpenSSL writes with `write`, which has no flag against it.
    static func blockBrokenPipes() {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
    }

    private static func outcome(_ count: Int, onWriting: Bool) -> TransferResult {
        if count > 0 { return .bytes(count) }
        if count == 0 { return .end }
        let error = errno
        if error == EAGAIN || error == EWOULDBLOCK || error == EINTR { return .wouldBlock(onWriting: onWriting) }
        return .failed(.connectionLost("\(onWriting ? "writing" : "reading") failed: \(text(error))"))
    }

    private static func text(_ error: Int32) -> String { String(cString: strerror(error)) }
}
