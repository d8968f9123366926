internal import DeliveryCore
internal import DeliverySystem

/// The thread of one client's connection.
enum ConnectionThread {
    /// Starts it. It ends when the client wants that, or cannot go on.
    ///
    /// - Parameter role: What the management page calls the connection, where it has no name, after the program's.
    /// - Throws: ``RabbitError`` where certificates or keys cannot be used, or the system has no thread left.
    static func start(
        _ broker: RabbitBroker,
        _ client: any ConnectionClient,
        _ wakeUp: WakePipe,
        role: String
    ) throws(RabbitError) {
        let hosts = try broker.parsedHosts()
        try checkFiles(broker)
        let name = broker.connectionName ?? "\(programName) \(role)"
        let isStarted = BlockingThread.start("rabbit-\(role)") {
            var context: TLSContext?
            if let tls = broker.tls {
                do throws(RabbitError) {
                    context = try TLSContext(tls)
                } catch {
                    client.note(.failed(error))
                    client.failed(error)
                    return client.ended()
                }
            }
            let loop = ConnectionLoop(
                broker,
                hosts: hosts,
                tls: context,
                client: client,
                wakeUp: wakeUp,
                connectionName: name
            )
            loop.run()
        }
        guard isStarted else { throw .connectionLost("the system has no thread left") }
    }

    /// Whether certificates and keys can be used, so that one that is not there is known at once. The thread reads them again.
    ///
    /// - Throws: ``RabbitError`` of kind `invalidConfiguration`.
    static func checkFiles(_ broker: RabbitBroker) throws(RabbitError) {
        if let tls = broker.tls { _ = try TLSContext(tls) }
    }

    private static var programName: String {
        let path = CommandLine.arguments.first ?? "RabbitDelivery"
        return String(path.split(separator: "/").last ?? "RabbitDelivery")
    }
}
