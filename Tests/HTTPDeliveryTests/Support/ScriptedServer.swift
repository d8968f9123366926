import DeliveryCore
import DeliverySystem
import DeliveryTesting
import Dispatch
import Synchronization

/// A server that does what a test says, byte by byte: each connection is given to a closure on a thread of its own.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        var method = ""
        var target = ""
        var headers: [(name: String, value: String)] = []
        var body: [UInt8] = []

        func header(_ name: String) -> String? {
            headers.first { $0.name.lowercased() == name.lowercased() }?.value
        }
    }

    struct Failure: Error {
        let call: String
        let code: Int32
    }

    private struct State {
        var requests: [Request] = []
        var connections = 0
        var isClosed = false
    }

    let port: Int
    private let listener: Int32
    private let accepts: Bool
    private let ended = DispatchSemaphore(value: 0)
    private let state = Mutex(State())

    /// - Parameter backlog: How many connections the system takes before they are accepted.
    init(backlog: Int32 = 128, accepts: Bool = true, _ script: @escaping @Sendable (Connection) -> Void) throws {
        (listener, port) = try Loopback.bind()
        self.accepts = accepts
        guard listen(listener, backlog) == 0 else { throw Failure(call: "listen", code: errno) }
        guard accepts else { return }
        let started = BlockingThread.start("scripted server") { [self] in
            while true {
                let client = accept(listener, nil, nil)
                if state.withLock({ $0.isClosed }) {
                    if client >= 0 { Self.close(client) }
                    Self.close(listener)
                    ended.signal()
                    return
                }
                guard client >= 0 else { continue }
                StreamSocket.prepare(client)
                state.withLock { $0.connections += 1 }
                let connection = Connection(client) { request in self.state.withLock { $0.requests.append(request) } }
                _ = BlockingThread.start("scripted peer") { script(connection) }
            }
        }
        guard started else { throw Failure(call: "pthread_create", code: EAGAIN) }
    }

    /// A server that answers each request with what `answer` returns, over and over on a connection.
    static func answering(_ answer: @escaping @Sendable (Request) -> String) throws -> ScriptedServer {
        try ScriptedServer { connection in
            while let request = connection.readRequest(), connection.write(answer(request)) {}
        }
    }

    /// The text of an answer.
    static func answer(_ status: Int, _ headers: [String] = [], body: String = "") -> String {
        (["HTTP/1.1 \(status) X"] + headers + ["Content-Length: \(body.utf8.count)", "", body]).joined(
            separator: "\r\n"
        )
    }

    var url: String { "http://127.0.0.1:\(port)" }

    var requests: [Request] { state.withLock { $0.requests } }

    var connectionCount: Int { state.withLock { $0.connections } }

    /// Refuses connections from now on; those that are there go on. The thread that accepts closes the socket: its number may
    /// be another server's right afterwards.
    func close() {
        let isFirst = state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        guard isFirst else { return }
        guard accepts else { return Self.close(listener) }
        let waker = StreamSocket.open(family: AF_INET)
        _ = Loopback.connect(waker, port: port)
        ended.wait()
        Self.close(waker)
    }

    private static func close(_ descriptor: Int32) {
        _ = DeliverySystem.close(descriptor)
    }

    /// One connection, used by its thread only; closed when it is let go of.
    final class Connection: @unchecked Sendable {
        private let descriptor: Int32
        private let note: (Request) -> Void
        private var buffer: [UInt8] = []

        init(_ descriptor: Int32, note: @escaping (Request) -> Void) {
            self.descriptor = descriptor
            self.note = note
        }

        deinit {
            ScriptedServer.close(descriptor)
        }

        /// Reads what is there; false at the end.
        private func fill() -> Bool {
            var chunk = [UInt8](repeating: 0, count: 65_536)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return false }
            buffer.append(contentsOf: chunk[..<count])
            return true
        }

        /// The next request; nil where the client has gone.
        func readRequest() -> Request? {
            guard var request = readHead() else { return nil }
            let length = request.header("Content-Length").flatMap(Int.init) ?? 0
            while buffer.count < length {
                guard fill() else { return nil }
            }
            request.body = Array(buffer[..<length])
            buffer.removeFirst(length)
            note(request)
            return request
        }

        /// The next request without its body.
        func readHead() -> Request? {
            while true {
                let text = String(decoding: buffer, as: UTF8.self)
                if let end = text.range(of: "\r\n\r\n") {
                    let head = text[..<end.lowerBound]
                    buffer.removeFirst(head.utf8.count + 4)
                    var lines = head.split(separator: "\r\n")
                    var request = Request()
                    if !lines.isEmpty {
                        let words = lines.removeFirst().split(separator: " ")
                        request.method = words.first.map(String.init) ?? ""
                        request.target = words.dropFirst().first.map(String.init) ?? ""
                    }
                    request.headers = lines.map { line in
                        let colon = line.firstIndex(of: ":") ?? line.endIndex
                        return (String(line[..<colon]), line[colon...].dropFirst().drop { $0 == " " }.description)
                    }
                    return request
                }
                guard fill() else { return nil }
            }
        }

        /// Writes all of a text; false where the client has gone.
        @discardableResult
        func write(_ text: String) -> Bool {
            var bytes = Array(text.utf8)[...]
            while !bytes.isEmpty {
                let count = bytes.withUnsafeBytes { StreamSocket.write(descriptor, $0) }
                guard count > 0 else { return false }
                bytes = bytes.dropFirst(count)
            }
            return true
        }

        /// Says nothing until the client goes.
        func hold() {
            while fill() { buffer = [] }
        }
    }
}

extension String {
    fileprivate func range(of text: String) -> Range<String.Index>? {
        // By bytes: "\r\n" is one character.
        let bytes = Array(utf8)
        let wanted = Array(text.utf8)
        guard bytes.count >= wanted.count else { return nil }
        for start in 0...(bytes.count - wanted.count) where Array(bytes[start..<start + wanted.count]) == wanted {
            return utf8.index(startIndex, offsetBy: start)..<utf8.index(startIndex, offsetBy: start + wanted.count)
        }
        return nil
    }
}
