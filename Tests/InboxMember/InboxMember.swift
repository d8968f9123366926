import Foundation

#if SQLite
    import GRDB
    import KafkaDelivery
    import Logging
    import OutboxKafka
    import OutboxSQLite
#endif

/// A consumer of named partitions that tests kill: notes the value of each message in a SQLite database, through an inbox.
///
///     InboxMember DATABASE BOOTSTRAP_SERVERS TOPIC CONSUMER PARTITION_COUNT
@main struct InboxMember {
    static func main() async throws {
        #if SQLite
            let arguments = CommandLine.arguments
            guard arguments.count == 6 else { exit(64) }
            var settings = GRDB.Configuration()
            settings.busyMode = .timeout(30)
            let database = try DatabasePool(path: arguments[1], configuration: settings)
            let inbox = try SQLiteInbox(database, consumer: arguments[4])
            var configuration = KafkaConsumer.Configuration(
                bootstrapServers: arguments[2].split(separator: ",").map(String.init),
                partitions: (0..<(Int(arguments[5]) ?? 0)).map {
                    KafkaTopicPartition(topic: arguments[3], partition: $0)
                }
            )
            configuration.maximumFetchWait = .milliseconds(10)
            configuration.begin(at: inbox)
            var logger = Logger(label: "member")
            logger.logLevel = .error
            let consumer = try KafkaConsumer(configuration, logger: logger)
            try await consumer.forEach(inbox: inbox, logger: logger) { delivery, db in
                try db.execute(
                    sql: "INSERT INTO effect (part, text) VALUES (?, ?)",
                    arguments: [delivery.partition, delivery.value.map { String(decoding: $0.array, as: UTF8.self) }]
                )
            }
        #else
            exit(69)
        #endif
    }
}
