import DeliveryCore
import RabbitDeliveryTesting

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Something on loopback that accepts connections, says the same to each, and reads nothing.
final class LoopbackPeer: Sendable {
    let port: Int
    private let listener: Int32

    struct NoPort: Error {}

    init(answer: String) throws {
        #if os(Linux)
            listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
            listener = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let bound: Bool = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(listener, address, size) == 0 && listen(listener, 8) == 0
                    && getsockname(listener, address, &size) == 0
            }
        }
        guard bound else { throw NoPort() }
        port = Int(UInt16(bigEndian: address.sin_port))
        let isStarted = BlockingThread.start("peer") {
            var connections: [Int32] = []
            while case let connection = accept(listener, nil, nil), connection >= 0 {
                connections.append(connection)
                _ = answer.withCString { write(connection, $0, answer.utf8.count) }
            }
            for connection in connections { _ = close(connection) }
            _ = close(listener)
        }
        guard isStarted else { throw NoPort() }
    }

    deinit {
        // Ends `accept`; the thread closes what is open.
        _ = shutdown(listener, Int32(SHUT_RDWR))
    }
}
