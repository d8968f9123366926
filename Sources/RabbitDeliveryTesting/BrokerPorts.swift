internal import DeliverySystem
internal import DeliveryTesting

/// The ports of a broker for tests, on loopback.
package struct BrokerPorts: Sendable {
    /// AMQP's.
    package var plain: Int
    /// AMQP's with TLS, which is listened on where that is asked for.
    package var encrypted: Int
    /// Where Erlang's nodes meet.
    package var distribution: Int
    /// Where they ask for one another.
    package var nodeNames: Int

    /// Some that are free now. Another program may take one before the broker does.
    package static func free() throws -> BrokerPorts {
        var sockets: [Int32] = []
        defer { for socket in sockets { _ = close(socket) } }
        func next() throws -> Int {
            let (descriptor, port) = try Loopback.bindForRestarts()
            sockets.append(descriptor)
            return port
        }
        return BrokerPorts(plain: try next(), encrypted: try next(), distribution: try next(), nodeNames: try next())
    }
}
