import DeliveryCore
import DeliverySystem
import DeliveryTesting
import Synchronization

/// A broker on loopback that does what a test says: it logs everybody in, answers requests, and says of messages what it is told to.
final class ScriptedBroker: Sendable {
    let port: Int
    private let listener: Int32
    private let script: Script
    /// The one that is open; -1 for none. The test's tasks and the thread that serves it write to it.
    private let connection = Mutex<Int32>(-1)
    /// How many connections took everything that was said until their close was answered.
    private let orderlyCloses = Mutex(0)

    struct Script {
        /// How long each answer to a request on the channel takes, as over a network that is far.
        var latency = Duration.zero
        /// What is said after each message that was published; its number is given.
        var afterPublish: @Sendable (UInt64) -> [Frame] = { [.ack($0)] }
        /// What is said when the client closes the connection, before that is answered.
        var beforeCloseOk: [Frame] = []
    }

    /// What the broker says on its channel.
    enum Frame {
        case ack(UInt64, multiple: Bool = false)
        case flow(isActive: Bool)
        /// A message comes back, with a body of so many bytes.
        case returned(size: Int)
    }

    struct NoThread: Error {}

    init(_ script: Script = Script()) throws {
        let (listener, port) = try Loopback.bind()
        self.listener = listener
        self.port = port
        self.script = script
        _ = listen(listener, 8)
        let isStarted = BlockingThread.start("broker") { [self] in
            while case let accepted = accept(listener, nil, nil), accepted >= 0 {
                StreamSocket.prepare(accepted)
                connection.withLock { $0 = accepted }
                serve(accepted)
                connection.withLock { $0 = -1 }
                _ = close(accepted)
            }
            _ = close(listener)
        }
        guard isStarted else { throw NoThread() }
    }

    func stop() {
        _ = shutdown(listener, Int32(SHUT_RDWR))
        connection.withLock { if $0 >= 0 { _ = shutdown($0, Int32(SHUT_RDWR)) } }
    }

    /// Says something on the connection that is open.
    ///
    /// - Returns: Whether all of it could be written.
    @discardableResult
    func say(_ frame: Frame) -> Bool {
        connection.withLock { Self.write($0, Self.bytes(frame)) }
    }

    /// How many connections took everything that was said until their close was answered.
    var orderlyCloseCount: Int { orderlyCloses.withLock { $0 } }

    // MARK: A connection

    private func serve(_ connection: Int32) {
        var greeting = [UInt8](repeating: 0, count: 8)
        guard Self.read(connection, &greeting) else { return }
        // Version 0-9, no properties, one mechanism, one language.
        answer(connection, 0x000A_000A, [0, 9, 0, 0, 0, 0] + Self.long("PLAIN") + Self.long("en_US"), channel: 0)
        var published: UInt64 = 0
        while let (kind, method) = Self.frame(connection) {
            guard kind == 1 else { continue }
            switch method {
            case 0x000A_000B: answer(connection, 0x000A_001E, [0, 1] + Self.big(UInt32(131_072)) + [0, 0], channel: 0)
            case 0x000A_0028: answer(connection, 0x000A_0029, [0], channel: 0)
            case 0x000A_0032:
                let isOrderly =
                    script.beforeCloseOk.allSatisfy { say($0) } && answer(connection, 0x000A_0033, [], channel: 0)
                if isOrderly { orderlyCloses.withLock { $0 += 1 } }
            case 0x0014_000A: answer(connection, 0x0014_000B, [0, 0, 0, 0])
            case 0x003C_0028:
                published += 1
                for frame in script.afterPublish(published) { say(frame) }
            // What has an answer without anything in it: declarations and bindings of exchanges, confirm.select.
            case 0x0028_000A, 0x0028_001E, 0x0055_000A: answer(connection, method + 1, [])
            default: break
            }
        }
    }

    @discardableResult
    private func answer(_ connection: Int32, _ method: UInt32, _ arguments: [UInt8], channel: UInt8 = 1) -> Bool {
        if channel > 0, script.latency > .zero { _ = poll(nil, 0, Int32(script.latency / .milliseconds(1))) }
        return Self.write(connection, Self.method(method, arguments, channel: channel))
    }

    // MARK: Bytes

    private static func bytes(_ frame: Frame) -> [UInt8] {
        switch frame {
        case .ack(let number, let multiple): method(0x003C_0050, big(number) + [multiple ? 1 : 0])
        case .flow(let isActive): method(0x0014_0014, [isActive ? 1 : 0])
        case .returned(let size): returned(size)
        }
    }

    /// The method (NO_ROUTE, without names), a header without properties, and bodies.
    private static func returned(_ size: Int) -> [UInt8] {
        var bytes = method(0x003C_0032, big(UInt16(312)) + [0, 0, 0])
        bytes += frame(2, [0, 60, 0, 0] + big(UInt64(size)) + [0, 0], channel: 1)
        for start in stride(from: 0, to: size, by: 131_064) {
            bytes += frame(3, Array(repeating: 0, count: min(131_064, size - start)), channel: 1)
        }
        return bytes
    }

    private static func frame(_ kind: UInt8, _ payload: [UInt8], channel: UInt8) -> [UInt8] {
        [kind, 0, channel] + big(UInt32(payload.count)) + payload + [0xCE]
    }

    private static func method(_ method: UInt32, _ arguments: [UInt8], channel: UInt8 = 1) -> [UInt8] {
        frame(1, big(method) + arguments, channel: channel)
    }

    private static func big(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private static func long(_ text: String) -> [UInt8] { big(UInt32(text.utf8.count)) + Array(text.utf8) }

    private static func write(_ connection: Int32, _ bytes: [UInt8]) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { StreamSocket.write(connection, $0) }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    private static func read(_ connection: Int32, _ bytes: inout [UInt8]) -> Bool {
        var count = 0
        while count < bytes.count {
            let more = bytes.withUnsafeMutableBytes {
                recv(connection, $0.baseAddress.map { $0 + count }, $0.count - count, 0)
            }
            guard more > 0 else { return false }
            count += more
        }
        return true
    }

    /// - Returns: The next frame's kind, and the first four bytes of what is in it.
    private static func frame(_ connection: Int32) -> (kind: UInt8, method: UInt32)? {
        var header = [UInt8](repeating: 0, count: 7)
        guard read(connection, &header) else { return nil }
        let count = header[3...].reduce(0) { $0 << 8 | Int($1) }
        var payload = [UInt8](repeating: 0, count: count + 1)
        guard read(connection, &payload) else { return nil }
        return (header[0], payload.prefix(4).reduce(0) { $0 << 8 | UInt32($1) })
    }
}
