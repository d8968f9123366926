import DeliveryCore
import DeliverySystem
import DeliveryTesting
import RabbitDeliveryTesting

/// Something on loopback that accepts connections, says the same to each, and reads nothing.
final class LoopbackPeer: Sendable {
    let port: Int
    private let listener: Int32

    struct NoThread: Error {}

    init(answer: String) throws {
        let (listener, port) = try Loopback.bind()
        self.listener = listener
        self.port = port
        _ = listen(listener, 8)
        let isStarted = BlockingThread.start("peer") {
            var connections: [Int32] = []
            while case let connection = accept(listener, nil, nil), connection >= 0 {
                connections.append(connection)
                _ = answer.withCString { write(connection, $0, answer.utf8.count) }
            }
            for connection in connections { _ = close(connection) }
            _ = close(listener)
        }
        guard isStarted else { throw NoThread() }
    }

    deinit {
        // Ends `accept`; the thread closes what is open.
        _ = shutdown(listener, Int32(SHUT_RDWR))
    }
}
