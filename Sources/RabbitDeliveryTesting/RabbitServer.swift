internal import Foundation
internal import Logging
public import RabbitDelivery
internal import Synchronization

/// A RabbitMQ broker for tests: one process, in a throw-away directory, on free ports of loopback.
///
/// ```swift
/// let server = try await RabbitServer.shared()               // one for the whole suite
/// let broker = try await server.makeBroker()                 // a virtual host of the test's own
/// let publisher = try RabbitPublisher(.init(broker))
/// ```
///
/// It needs RabbitMQ's programs (`apt-get install rabbitmq-server`, `brew install rabbitmq`), whose own service need not run. The
/// broker ends with the process that started it, however that ends: a shell beside it waits for the end of a pipe.
///
/// Where `RABBITMQ_URL` is set, ``shared()`` is the broker that it names, in whose virtual host tests then meet: name queues with
/// ``unique(_:)``. What needs the broker's own process, ``canBeHarmed`` says, is not possible then.
public final class RabbitServer: Sendable {
    /// What a broker of one's own is started with.
    public struct Options: Sendable {
        /// Whether it listens with TLS too, with certificates that are made for it; needs `openssl`.
        public var hasTLS = false
        /// After how long without an acknowledgement it closes a channel (`consumer_timeout`); nil for RabbitMQ's half an hour. It is
        /// looked at once a second then, and not once a minute.
        public var consumerTimeout: Duration?

        /// RabbitMQ's own.
        public init() {}
    }

    /// Where it is, with the default virtual host.
    public let broker: RabbitBroker

    /// The process; nil where the broker is another's.
    let process: BrokerProcess?

    private static let sharedServer = SharedServer { try await makeShared() }
    private let counter = Atomic(0)

    private init(_ broker: RabbitBroker, process: BrokerProcess?) {
        self.broker = broker
        self.process = process
    }

    deinit {
        process?.end()
    }

    /// The broker of the whole process: started by the first who asks, or the one that `RABBITMQ_URL` names.
    public static func shared() async throws -> RabbitServer {
        try await sharedServer.server()
    }

    private static func makeShared() async throws -> RabbitServer {
        if let uri = ProcessInfo.processInfo.environment["RABBITMQ_URL"], !uri.isEmpty {
            return RabbitServer(try RabbitBroker(uri: uri), process: nil)
        }
        return try await start()
    }

    /// Starts a broker of one's own, which ends when the object does.
    ///
    /// - Throws: ``RabbitServerFailure`` where RabbitMQ is not installed or does not start within five minutes.
    public static func start(_ options: Options = Options()) async throws -> RabbitServer {
        try await start(options) { try .free() }
    }

    /// The same with ports of the caller's choice; asked again where the broker could not have them.
    package static func start(
        _ options: Options = Options(),
        on ports: () throws -> BrokerPorts
    ) async throws -> RabbitServer {
        for _ in 0..<2 {
            let server = try await makeServer(options, try ports())
            do {
                try await server.waitUntilReady()
                return server
            } catch {
                // Another program may have taken one of its ports before it did. One that runs and does not answer is no such case.
                if server.process?.isRunning ?? true { throw error }
            }
        }
        let server = try await makeServer(options, try ports())
        try await server.waitUntilReady()
        return server
    }

    private static func makeServer(_ options: Options, _ ports: BrokerPorts) async throws -> RabbitServer {
        // Certificates take other programs a moment: not on one of the threads that all tasks share.
        let process = try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(with: Result { try BrokerProcess(options, ports: ports) })
            }
        }
        var broker = RabbitBroker(hosts: ["127.0.0.1:\(process.ports.plain)"])
        broker.minimumReconnectDelay = .milliseconds(20)
        broker.maximumReconnectDelay = .milliseconds(500)
        return RabbitServer(broker, process: process)
    }

    /// Whether the broker is this object's own, and may be killed, frozen and choked.
    public var canBeHarmed: Bool { process != nil }

    /// A name that no other test has.
    public func unique(_ name: String) -> String {
        let number = counter.add(1, ordering: .relaxed).newValue
        return "\(name)-\(ProcessInfo.processInfo.processIdentifier)-\(number)"
    }

    /// A virtual host of its own, and how to get there. Where the broker is another's, its own virtual host.
    public func makeBroker() async throws -> RabbitBroker {
        guard let process else { return broker }
        let name = unique("test")
        _ = try await process.evaluate(
            """
            rabbit_vhost:add(<<"\(name)">>, <<"guest">>),
            rabbit_auth_backend_internal:set_permissions(
                <<"guest">>, <<"\(name)">>, <<".*">>, <<".*">>, <<".*">>, <<"guest">>).
            """
        )
        var broker = broker
        broker.virtualHost = name
        return broker
    }

    /// The same with TLS: trusting the authority that the certificates were made by.
    ///
    /// - Parameter host: `localhost` or `127.0.0.1`, for both of which the certificate is.
    public func encrypted(_ broker: RabbitBroker, host: String = "localhost") throws -> RabbitBroker {
        guard let process, process.hasTLS else { throw RabbitServerFailure("it has no TLS") }
        var broker = broker
        broker.hosts = ["\(host):\(process.ports.encrypted)"]
        broker.tls = RabbitTLS(certificateAuthority: process.path("ca.pem"))
        return broker
    }

    /// The path of a file that was made for TLS: `ca.pem`, `client.pem`, `client.key`, `other-ca.pem`.
    public func path(_ name: String) throws -> String {
        guard let process else { throw RabbitServerFailure("the broker is another's") }
        return process.path(name)
    }

    /// Waits until a login works.
    func waitUntilReady() async throws {
        // Seconds, where there is a processor to spare. A broker that ends is noticed at once.
        let deadline = ContinuousClock.now + .seconds(300)
        while ContinuousClock.now < deadline {
            if let process, !process.isRunning { throw RabbitServerFailure("RabbitMQ ended: \(process.lastWords)") }
            let quiet = Logger(label: "RabbitServer") { _ in SwiftLogNoOpLogHandler() }
            let publisher = try RabbitPublisher(.init(broker), logger: quiet)
            let isOpen = (try? await publisher.waitUntilConnected()) != nil
            await publisher.close(within: .zero)
            if isOpen { return }
        }
        throw RabbitServerFailure("RabbitMQ does not answer: \(process?.lastWords ?? "")")
    }
}
