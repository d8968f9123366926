import DeliverySystem
import DeliveryTesting
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
        let descriptor = StreamSocket.open(family: AF_INET)
        guard descriptor >= 0 else { throw TestFailure("no socket: \(String(cString: strerror(errno)))") }
        self.init(descriptor)
        guard Loopback.connect(descriptor, port: port) == 0 else {
            throw TestFailure("no connection: \(String(cString: strerror(errno)))")
        }
    }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { StreamSocket.write(descriptor, $0) }
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
            let (listener, port) = try Loopback.bind()
            self.descriptor = listener
            self.port = port
            guard listen(listener, 16) == 0 else { throw TestFailure("no port: \(String(cString: strerror(errno)))") }
            Thread.detachNewThread {
                while true {
                    let accepted = accept(listener, nil, nil)
                    guard accepted >= 0 else { break }
                    StreamSocket.prepare(accepted)
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
}

/// Runs something that blocks on a thread of its own.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread {
            continuation.resume(with: Swift.Result { try body() })
        }
    }
}
