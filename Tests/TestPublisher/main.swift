import KafkaDelivery
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres

// A publisher in a process of its own, which tests kill, or which ends itself (SIGKILL) where it comes to a step for the nth time:
//
//     TestPublisher DATABASE-URL KAFKA-SERVERS SESSION-SECONDS [EXACTLY-ONCE-NAME|- [STEP [COUNT]]]

let arguments = CommandLine.arguments
guard arguments.count >= 4, let seconds = Int(arguments[3]) else {
    fatalError("DATABASE-URL KAFKA-SERVERS SESSION-SECONDS [EXACTLY-ONCE-NAME|- [STEP [COUNT]]]")
}
let name = arguments.count > 4 && arguments[4] != "-" ? arguments[4] : nil
let end = SuddenEnd(
    at: arguments.count > 5 ? arguments[5] : nil,
    count: arguments.count > 6 ? Int(arguments[6]) ?? 1 : 1
)
var configuration = try PostgresOutbox.Configuration(LibpqSettings(arguments[1]))
configuration.sessionTimeout = .seconds(seconds)
var logger = Logger(label: "publisher")
logger.logLevel = .error
let servers = arguments[2].split(separator: ",").map(String.init)
let destination: any OutboxDestination
if let name {
    var once = KafkaExactlyOnceDestination.Configuration(name: name, bootstrapServers: servers)
    once.atStep = { end.reach($0.rawValue) }
    // Small batches, so that there are many.
    once.maximumBatchCount = 64
    destination = try KafkaExactlyOnceDestination(once, logger: logger)
} else {
    destination = EndingDestination(
        try KafkaOutboxDestination(.init(bootstrapServers: servers), logger: logger),
        end
    )
}
let publisher = OutboxPublisher(
    store: EndingStore(try PostgresOutbox(configuration), end),
    destinations: ["kafka": destination],
    logger: logger
)
print("ready")
try await publisher.run()
