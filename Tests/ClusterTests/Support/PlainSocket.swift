import Foundation

/// A TCP connection on loopback, without Kafka. Every call may block, so they belong on a thread: ``onThread(_:)``.
final class PlainSocket: Sendable {
    private let descriptor: Int32

    private init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Connects.
    convenience init(port: Int) throws {
        let descriptor = try Self.open()
        self.init(descriptor)
        let status = Self.withAddress(port: port) { Foundation.connect(descriptor, $0, $1) }
        guard status == 0 else { throw TestFailure("no connection: \(String(cString: strerror(errno)))") }
    }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Foundation.send(descriptor, $0.baseAddress, $0.count, Self.flags)
            }
            guard count > 0 else { throw TestFailure("not sent: \(String(cString: strerror(errno)))") }
            sent += count
        }
    }

    /// The next bytes; fewer where the connection ends before.
    func receive(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let more = receiveSome(upTo: min(count - bytes.count, 65_536))
            if more.isEmpty { break }
            bytes += more
        }
        return bytes
    }

    /// Whatever comes next; nothing where the connection has ended.
    func receiveSome(upTo count: Int = 65_536) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: count)
        let received = recv(descriptor, &buffer, count, 0)
        return received > 0 ? Array(buffer[..<received]) : []
    }

    /// Whether nothing comes for a while.
    func isSilent(for time: Duration) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, Int32(time / .milliseconds(1))) == 0
    }

    func finishWriting() {
        shutdown(descriptor, Int32(SHUT_WR))
    }

    /// Wakes whoever waits in ``receive(_:)``.
    func stop() {
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    // MARK: Listening

    /// A port that answers.
    final class Server: Sendable {
        let port: Int
        private let descriptor: Int32

        /// Calls `serve` on a thread of its own for each connection.
        init(_ serve: @escaping @Sendable (PlainSocket) -> Void) throws {
            let listener = try PlainSocket.open()
            self.descriptor = listener
            var bound = PlainSocket.withAddress(port: 0) { Foundation.bind(listener, $0, $1) }
            if bound == 0 { bound = Foundation.listen(listener, 16) }
            var address = sockaddr_in()
            var count = socklen_t(MemoryLayout<sockaddr_in>.size)
            _ = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(listener, $0, &count) }
            }
            guard bound == 0 else { throw TestFailure("no port: \(String(cString: strerror(errno)))") }
            self.port = Int(UInt16(bigEndian: address.sin_port))
            Thread.detachNewThread {
                while true {
                    let accepted = accept(listener, nil, nil)
                    guard accepted >= 0 else { break }
                    let socket = PlainSocket(accepted)
                    Thread.detachNewThread { serve(socket) }
                }
                close(listener)
            }
        }

        deinit {
            shutdown(descriptor, Int32(SHUT_RDWR))
        }

        /// Says what it hears.
        static func echo() throws -> Server {
            try Server { socket in
                while true {
                    let bytes = socket.receiveSome()
                    if bytes.isEmpty { break }
                    do { try socket.send(bytes) } catch { break }
                }
            }
        }
    }

    #if canImport(Darwin)
        private static let flags: Int32 = 0
    #else
        private static let flags = Int32(MSG_NOSIGNAL)
    #endif

    private static func open() throws -> Int32 {
        #if canImport(Glibc)
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        #else
            let descriptor = socket(AF_INET, SOCK_STREAM, 0)
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        #endif
        guard descriptor >= 0 else { throw TestFailure("no socket: \(String(cString: strerror(errno)))") }
        return descriptor
    }

    private static func withAddress(port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

/// Runs something that blocks on a thread of its own.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread {
            continuation.resume(with: Swift.Result { try body() })
        }
    }
}
