import DeliveryCore
import DeliverySystem
import DeliveryTesting
import Synchronization

/// Passes bytes on to a port of loopback, and cuts connections when it is told to: one thread for each connection and direction.
final class LoopbackRelay: Sendable {
    let port: Int
    private let listener: Int32
    private let open = Mutex<[Int32]>([])
    // A test sets it while the relay's threads pass bytes on.
    private let fault = Mutex(Fault.none)

    enum Fault {
        case none
        /// A black hole: connections stay open, and what is sent is gone.
        case swallows
        /// So many bytes more from the client, and the connection is cut.
        case cutsRequests(after: Int)
        /// So many bytes more from the server, and the connection is cut.
        case cutsAnswers(after: Int)
    }

    func set(_ new: Fault) { fault.withLock { $0 = new } }

    /// How many of these bytes are passed on; less than all, and the connection is cut. Nil for none, and it stays.
    private func share(of count: Int, isAnswer: Bool) -> Int? {
        fault.withLock { fault in
            switch (fault, isAnswer) {
            case (.swallows, _): return nil
            case (.cutsRequests(let left), false):
                fault = left < count ? .none : .cutsRequests(after: left - count)
                return min(left, count)
            case (.cutsAnswers(let left), true):
                fault = left < count ? .none : .cutsAnswers(after: left - count)
                return min(left, count)
            default: return count
            }
        }
    }

    struct NoThread: Error {}

    init(to target: Int) throws {
        let (listener, port) = try Loopback.bind()
        self.listener = listener
        self.port = port
        _ = listen(listener, 64)
        let isStarted = BlockingThread.start("relay") { [self] in
            while case let client = accept(listener, nil, nil), client >= 0 {
                StreamSocket.prepare(client)
                let server = StreamSocket.open(family: AF_INET)
                let isConnected = Loopback.connect(server, port: target) == 0
                let pair = Pair(client, server)
                open.withLock { $0 += [client, server] }
                guard isConnected else { continue }
                _ = BlockingThread.start("relay") { [self] in pass(pair, client, server, isAnswer: false) }
                _ = BlockingThread.start("relay") { [self] in pass(pair, server, client, isAnswer: true) }
            }
        }
        guard isStarted else { throw NoThread() }
    }

    /// Two sockets, closed when both directions have ended.
    private final class Pair: Sendable {
        private let sockets: (Int32, Int32)

        init(_ one: Int32, _ other: Int32) { sockets = (one, other) }

        deinit {
            _ = close(sockets.0)
            _ = close(sockets.1)
        }
    }

    private func pass(_ pair: Pair, _ from: Int32, _ to: Int32, isAnswer: Bool) {
        withExtendedLifetime(pair) {
            var buffer = [UInt8](repeating: 0, count: 16_384)
            while case let count = recv(from, &buffer, buffer.count, 0), count > 0 {
                guard let share = share(of: count, isAnswer: isAnswer) else { continue }
                let sent = buffer.withUnsafeBytes { StreamSocket.write(to, .init(rebasing: $0[..<share])) }
                guard sent == count else { break }
            }
            open.withLock { open in open.removeAll { $0 == from || $0 == to } }
            _ = shutdown(from, Int32(SHUT_RDWR))
            _ = shutdown(to, Int32(SHUT_RDWR))
        }
    }

    /// Cuts every connection there is.
    func cut() {
        open.withLock { open in
            for descriptor in open { _ = shutdown(descriptor, Int32(SHUT_RDWR)) }
        }
    }

    func stop() {
        _ = shutdown(listener, Int32(SHUT_RDWR))
        cut()
    }
}

/// How much memory the process has.
enum Memory {
    /// In bytes; 0 where the system does not say.
    static var resident: Int {
        #if os(Linux)
            guard let file = fopen("/proc/self/statm", "r") else { return 0 }
            defer { fclose(file) }
            var line = [CChar](repeating: 0, count: 128)
            guard fgets(&line, 128, file) != nil else { return 0 }
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4_096
        #else
            return 0
        #endif
    }

    /// Whether what was freed is kept for a while: the address sanitizer does so with 256 MB, unless `ASAN_OPTIONS` says otherwise, as
    /// `scripts/test` does. What is resident then says nothing.
    static var keepsWhatIsFreed: Bool {
        #if os(Linux)
            guard dlsym(nil, "__asan_init") != nil else { return false }
            return getenv("ASAN_OPTIONS").map { !String(cString: $0).contains("quarantine_size_mb=") } ?? true
        #else
            return false
        #endif
    }
}
