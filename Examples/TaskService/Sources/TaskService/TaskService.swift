import Foundation
import HTTPDelivery
import Hummingbird
import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import OutboxDelivery
import OutboxHTTP
import OutboxKafka
import ServiceLifecycle

/// A service that stores tasks and tells others about them, none of which gets lost.
///
///     TaskService broker      a mock cluster, until it is killed; prints its address
///     TaskService serve       the service, on PORT (8080), with KAFKA_BOOTSTRAP_SERVERS, and DATABASE_URL or DATABASE_PATH; TOPIC and
///                             GROUP have names of their own where others use the cluster
@main struct TaskService {
    static func main() async throws {
        switch CommandLine.arguments.dropFirst().first {
        case "broker": try await broker()
        case "serve": try await serve(ProcessInfo.processInfo.environment)
        default:
            print("Say TaskService broker or TaskService serve.")
            exit(64)
        }
    }

    private static func broker() async throws {
        let cluster = try MockCluster()
        try cluster.createTopic(WorkEvent.topic, partitions: 4)
        print(cluster.bootstrapServers.joined(separator: ","))
        fflush(nil)
        // Until it is killed.
        while true { try await Task.sleep(for: .seconds(3_600)) }
    }

    private static func serve(_ environment: [String: String]) async throws {
        guard let servers = environment["KAFKA_BOOTSTRAP_SERVERS"] else {
            print("Set KAFKA_BOOTSTRAP_SERVERS.")
            exit(64)
        }
        let brokers = servers.split(separator: ",").map(String.init)
        let port = environment["PORT"].flatMap(Int.init) ?? 8080
        let group = environment["GROUP"] ?? "task-service"
        var logger = Logger(label: "task-service")
        logger.logLevel = environment["LOG_LEVEL"].flatMap(Logger.Level.init(rawValue:)) ?? .warning

        let store: any WorkStore
        if let url = environment["DATABASE_URL"] {
            store = try PostgresWorkStore(url: url, group: group)
        } else {
            store = try SQLiteWorkStore(path: environment["DATABASE_PATH"] ?? "tasks.sqlite", group: group)
        }
        try await store.migrate()

        // The publisher: events to Kafka, calls to the webhook.
        let kafka = try KafkaOutboxDestination(.init(bootstrapServers: brokers), logger: logger)
        let http = try HTTPDestination()
        let hooks = HTTPOutboxDestination(http, url: try HTTPURLTemplate("http://127.0.0.1:\(port)/hook{/topic*}"))
        let publisher = OutboxPublisher(
            store: store.outbox,
            destinations: ["kafka": kafka, "hooks": hooks],
            logger: logger
        )

        // The consumer, which begins where the inbox says.
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: brokers,
            group: group,
            topics: [WorkEvent.topic]
        )
        // So long a service that was killed keeps its partitions, which the one that is started after it waits for.
        configuration.sessionTimeout = .seconds(6)
        store.begin(&configuration)
        let consumer = try KafkaConsumer(configuration, logger: logger)

        let server = Application(
            router: Routes.router(store, Webhook()),
            configuration: .init(address: .hostname("127.0.0.1", port: port)),
            logger: logger
        )
        // Shut down from the last to the first: what takes requests first, what publishes last.
        let services = ServiceGroup(
            services: [publisher, Consumption(consumer: consumer, store: store), server],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: logger
        )
        try await services.run()
        await kafka.close(within: .seconds(10))
        _ = await http.close(within: .seconds(10))
    }
}
