internal import DeliverySystem
public import KafkaDelivery

/// A bad network between your clients and any cluster, mock or real, whose configuration stays as it is.
///
/// ```swift
/// let relay = try FaultRelay(seed: 42)
/// var configuration = KafkaProducer.Configuration(bootstrapServers: servers)
/// relay.route(&configuration)
/// let producer = try KafkaProducer(configuration)
///
/// relay.faults.responseLoss = .init(probability: 0.2)      // stored, and the confirmation lost
/// relay.faults.requests.delay = .milliseconds(50)
/// relay.faults.responses.isBlackHole = true                // alive, and says nothing
/// relay.cutConnections()
/// relay.faults = .init()                                   // all is well again
/// ```
///
/// The client believes that it speaks to its brokers at their own addresses; each of its connections goes to a port on
/// loopback that the relay opened for that address, and on from there (librdkafka's `connect_cb`). So brokers may advertise
/// whatever addresses they like, TLS still sees their host names, and clients that were not routed see none of the faults.
///
/// Faults may be changed at any time, and what was on its way then goes as it had been planned. A broker that cannot be
/// reached shows as a connection that is closed at once rather than refused.
///
/// ## Bounds
///
/// One thread does it all. It listens on loopback only, and holds about a megabyte a connection and direction; when that
/// is full the sender has to wait, so that a delay of 100 ms lets some 10 MB/s through.
///
/// ## What the seed repeats
///
/// All that is left to chance is drawn from one generator in the order in which connections read. A seed therefore gives the
/// same numbers again, but not the same story: how the bytes of a client fall into reads is the system's affair.
///
/// The relay works until ``shutdown()``, or until neither it nor a configuration or client that it routes is left.
public final class FaultRelay: Sendable {
    /// What ``init(_:seed:)`` was given, or had drawn: for the log of a test that failed.
    public let seed: UInt64

    private let state: FaultState
    private let engine: RelayEngine

    /// Starts a relay.
    ///
    /// - Parameters:
    ///   - faults: What is wrong from the beginning.
    ///   - seed: What random numbers follow from.
    /// - Throws: ``Failure`` where the system has no thread or descriptor left.
    public init(
        _ faults: Faults = Faults(),
        seed: UInt64 = .random(in: .min ... .max)
    ) throws(Failure) {
        let state = FaultState(faults, seed: seed)
        guard let engine = RelayEngine(name: "fault-relay", makeFilter: { FaultFilter(state) }) else {
            throw Failure("The system has no thread or no file descriptor left for a relay.")
        }
        self.seed = seed
        self.state = state
        self.engine = engine
    }

    deinit {
        engine.stop()
    }

    /// What is wrong with the network now.
    public var faults: Faults {
        get { state.withLock { $0.faults } }
        set {
            state.withLock { $0.faults = newValue }
            engine.ring()
        }
    }

    /// What the relay has done so far.
    public var statistics: Statistics {
        state.withLock { $0.statistics }
    }

    /// Cuts every connection there is, now. What is on its way is lost. Later connections are not cut.
    public func cutConnections() {
        state.withLock { $0.cuts += 1 }
        engine.ring()
    }

    /// From now on loses what brokers say on the connections there are, while requests pass, and then cuts them.
    ///
    /// - Parameter time: How long requests pass before the cut; nil for ever.
    public func loseResponses(thenCutAfter time: Duration? = .milliseconds(10)) {
        state.withLock { shared in
            shared.losses += 1
            shared.lossCutsAfter = time
        }
        engine.ring()
    }

    /// Closes all connections and ports, and waits until that is done. Routed clients find no broker afterwards.
    public func shutdown() async {
        await engine.stopAndWait()
    }
}

// MARK: Clients

extension FaultRelay {
    /// Makes a producer's connections go through the relay.
    public func route(_ configuration: inout KafkaProducer.Configuration) {
        configuration.route = route
    }

    /// Makes a consumer's connections go through the relay.
    public func route(_ configuration: inout KafkaConsumer.Configuration) {
        configuration.route = route
    }

    /// Makes a transactional producer's connections go through the relay.
    public func route(_ configuration: inout KafkaTransactionalProducer.Configuration) {
        configuration.producer.route = route
    }

    /// A port on loopback that leads to an address through the relay, for whatever else speaks TCP. A Kafka client that is
    /// not routed follows the addresses that brokers advertise, and so past the relay.
    ///
    /// - Parameters:
    ///   - host: A name or an address; blocks while a name is looked up.
    ///   - port: 1 to 65,535.
    /// - Returns: The port; of `127.0.0.1`, or `::1` where the address is one of IPv6.
    /// - Throws: ``Failure`` where there is no such address, no port is left, or the relay is shut down.
    public func port(for host: String, port: Int) throws(Failure) -> Int {
        guard let number = UInt16(exactly: port), number > 0 else {
            throw Failure("Name a port from 1 to 65535: \(port) is none.")
        }
        guard let target = SocketAddress.lookUp(host: host, port: number) else {
            throw Failure("Name a host that can be found: \(host) has no address.")
        }
        guard let address = engine.address(for: target) else {
            throw Failure("Use a relay before it is shut down, and while the system has ports left.")
        }
        return Int(address.port)
    }

    /// Keeps the relay alive.
    private var route: ConnectionRoute {
        ConnectionRoute { [self] socket, address in
            guard let target = SocketAddress(address) else { return EAFNOSUPPORT }
            guard let relayed = engine.address(for: target) else { return ECONNREFUSED }
            return Socket.connect(socket, to: relayed)
        }
    }
}
