internal import DeliverySystem

/// A port before each mock broker, where sequence numbers are checked.
struct MockFront {
    /// The addresses for clients, in the order of the brokers.
    let bootstrapServers: [String]
    private let engine: RelayEngine

    /// - Parameter servers: The mock's own addresses.
    init(_ servers: [String]) throws(MockCluster.Failure) {
        let broker = SequenceBroker()
        guard let engine = RelayEngine(name: "mock-sequences", makeFilter: { SequenceFilter(broker) }) else {
            throw Self.failure("the system has no thread or file descriptor left")
        }
        var ports: [UInt16: UInt16] = [:]
        var bootstrapServers: [String] = []
        for server in servers {
            guard let colon = server.lastIndex(of: ":"), let port = UInt16(server[server.index(after: colon)...]),
                let target = SocketAddress.loopback(family: AF_INET, port: port),
                let address = engine.address(for: target)
            else {
                engine.stop()
                throw Self.failure("no port can be opened before \(server)")
            }
            ports[port] = address.port
            bootstrapServers.append("\(server[..<colon]):\(address.port)")
        }
        broker.ports = AdvertisedPorts(ports: ports)
        self.bootstrapServers = bootstrapServers
        self.engine = engine
    }

    func stop() {
        engine.stop()
    }

    private static func failure(_ why: String) -> MockCluster.Failure {
        MockCluster.Failure(
            reason: .librdkafka,
            description: "A mock cluster that checks sequence numbers cannot start: \(why)."
        )
    }
}
