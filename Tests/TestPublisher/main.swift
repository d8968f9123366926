import KafkaDelivery
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres

// A publisher in a process of its own, which tests kill: TestPublisher DATABASE-URL KAFKA-SERVERS SESSION-SECONDS

let arguments = CommandLine.arguments
guard arguments.count == 4, let seconds = Int(arguments[3]) else {
    fatalError("DATABASE-URL KAFKA-SERVERS SESSION-SECONDS")
}
var configuration = try PostgresOutbox.Configuration(LibpqSettings(arguments[1]))
configuration.sessionTimeout = .seconds(seconds)
var logger = Logger(label: "publisher")
logger.logLevel = .error
let destination = try KafkaOutboxDestination(.init(bootstrapServers: [arguments[2]]), logger: logger)
let publisher = OutboxPublisher(
    store: try PostgresOutbox(configuration),
    destinations: ["kafka": destination],
    logger: logger
)
print("ready")
try await publisher.run()
