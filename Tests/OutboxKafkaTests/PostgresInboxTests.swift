import DeliveryTesting
import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import Testing

/// Consuming through an inbox in PostgreSQL: one effect for each message.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct PostgresInboxTests {
    /// A consumer's database, with the effects beside the inbox, and a topic.
    private struct Place {
        let fixture: ExactlyOnceFixture
        let inbox: PostgresInbox

        static func make(
            _ change: (inout PostgresInbox.Configuration) -> Void = { _ in }
        ) async throws -> Place {
            let fixture = try await ExactlyOnceFixture.make()
            try await fixture.writer.query(
                OutboxStatement("CREATE TABLE effect (id bigserial PRIMARY KEY, text text NOT NULL)")
            )
            let place = Place(fixture: fixture, inbox: try inbox(fixture, change))
            try await place.inbox.migrate()
            return place
        }

        static func inbox(
            _ fixture: ExactlyOnceFixture,
            _ change: (inout PostgresInbox.Configuration) -> Void = { _ in }
        ) throws -> PostgresInbox {
            var configuration = PostgresInbox.Configuration(LibpqSettings(fixture.url), consumer: "projection")
            change(&configuration)
            return try PostgresInbox(configuration)
        }

        func send(_ texts: [String], keys: Bool = false) async throws {
            let producer = try KafkaProducer(.init(bootstrapServers: fixture.servers))
            let messages = texts.map { text in
                var message = KafkaMessage(topic: fixture.name, partition: 0, key: "k", value: text)
                if keys { message.idempotencyKey = KafkaBytes(text) }
                return message
            }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
            await producer.close()
        }

        func consumer(_ inbox: PostgresInbox) throws -> KafkaConsumer {
            var configuration = KafkaConsumer.Configuration(
                bootstrapServers: fixture.servers,
                partitions: [KafkaTopicPartition(topic: fixture.name, partition: 0)]
            )
            configuration.maximumFetchWait = .milliseconds(10)
            configuration.autoOffsetReset = .beginning
            configuration.begin(at: inbox)
            return try KafkaConsumer(configuration, logger: ExactlyOnceFixture.logger)
        }

        @Sendable static func note(
            _ delivery: KafkaConsumer.Delivery,
            _ transaction: LibpqConnection.Transaction
        ) async throws {
            // The topic's first record is there to make it.
            guard let text = delivery.value?.string, text != "begin" else { return }
            try await transaction.query(OutboxStatement("INSERT INTO effect (text) VALUES ($1)", [.text(text)]))
        }

        /// Runs a consumer's loop until there are so many effects.
        func consume(until count: Int64) async throws {
            let consumer = try consumer(inbox)
            async let loop: Void = consumer.forEach(
                inbox: inbox,
                logger: ExactlyOnceFixture.logger,
                Place.note
            )
            try await fixture.wait("SELECT count(*) FROM effect", until: count)
            await consumer.close(within: .seconds(10))
            try await loop
        }

        func effects() async throws -> [String] {
            let rows = try await fixture.writer.query(OutboxStatement("SELECT text FROM effect ORDER BY id"))
            return (0..<rows.count).compactMap { rows.text($0, 0) }
        }

        func close() async {
            await inbox.close()
            await fixture.close()
        }
    }

    @Test func eachMessageHasItsEffectOnceAndTheStoredOffsetWins() async throws {
        let place = try await Place.make()
        let texts = (0..<20).map(String.init)
        try await place.send(texts)
        try await place.consume(until: 20)
        #expect(try await place.effects() == texts)
        // Restored from before: what came since has its effect again, in order.
        let offset = OutboxStatement("SELECT next FROM inbox_offset")
        #expect(try await place.fixture.writer.query(offset).integer(0, 0) == 21)
        try await place.fixture.writer.query(OutboxStatement("DELETE FROM effect WHERE text::int >= 5"))
        try await place.fixture.writer.query(OutboxStatement("UPDATE inbox_offset SET next = 6"))
        try await place.consume(until: 20)
        #expect(try await place.effects() == texts)
        // And what was sent twice has one.
        try await place.send(["a", "b", "a", "c"], keys: true)
        try await place.consume(until: 23)
        #expect(try await place.effects() == texts + ["a", "b", "c"])
        await place.close()
    }

    @Test func aMemberThatStandsStillInsideOfATransactionIsFencedAndTheNextOneGoesOn() async throws {
        let place = try await Place.make { $0.transactionTimeout = .seconds(5) }
        let texts = (0..<10).map(String.init)
        try await place.send(texts)
        let isInside = AsyncStream.makeStream(of: Void.self)
        let mayGoOn = AsyncStream.makeStream(of: Void.self)
        let zombie = try place.consumer(place.inbox)
        let inbox = place.inbox
        let still = Task {
            try await zombie.forEach(inbox: inbox, logger: ExactlyOnceFixture.logger) { delivery, transaction in
                if delivery.value?.string == "3" {
                    isInside.continuation.yield()
                    for await _ in mayGoOn.stream { break }
                }
                try await Place.note(delivery, transaction)
            }
        }
        for await _ in isInside.stream { break }
        // Another member has the partition now; the first does not know it. The server ends the first one's session.
        let other = try Place.inbox(place.fixture)
        let next = try place.consumer(other)
        async let loop: Void = next.forEach(inbox: other, logger: ExactlyOnceFixture.logger, Place.note)
        try await place.fixture.wait("SELECT count(*) FROM effect", until: 10)
        mayGoOn.continuation.finish()
        // What it goes on with is done already: it has no effect, and the messages behind it have none.
        try await place.send(["10"])
        try await place.fixture.wait("SELECT count(*) FROM effect", until: 11)
        await zombie.close(within: .seconds(10))
        await next.close(within: .seconds(10))
        try await still.value
        try await loop
        #expect(try await place.effects() == texts + ["10"])
        await other.close()
        await place.close()
    }
}
