import DeliveryTesting
import Foundation
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import Testing

/// Which batch is taken for which: what a wrong answer costs is rows that are deleted and were never sent.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct ExactlyOnceNumbersTests {
    private func event(_ number: Int64, _ topic: String) -> OutboxEvent {
        OutboxEvent(
            id: .init(slot: 4, number: number),
            createdAt: Date(timeIntervalSince1970: 0),
            message: OutboxMessage(topic: topic, key: "k", payload: "\(number)", attributes: ["partition": "0"])
        )
    }

    private func inflight(_ number: Int64, _ destination: String, _ topic: String) -> OutboxInflight {
        OutboxInflight(slot: 4, destination: destination, number: number, topic: topic, rows: [number])
    }

    @Test func transactionalIDsOfOtherNamesDestinationsAndSlotsDiffer() {
        func id(_ name: String, _ destination: String, _ slot: Int) -> String {
            KafkaExactlyOnceDestination.Configuration(name: name, bootstrapServers: ["localhost:9092"])
                .id(slot: slot, destination: destination)
        }
        #expect(id("shop-outbox", "kafka", 7) == "shop-outbox-kafka-7")
        #expect(id("a", "b-c", 1) != id("a-b", "c", 1))
        #expect(id("a", "1-b", 1) != id("a-1", "b", 1))
        #expect(id("a", "b", 12) != id("a", "b1", 2))
        #expect(id("a", "%2D", 1) != id("a", "-", 1))
        #expect(id("a", "ä/ \0", 3) == "a-%C3%A4%2F%20%00-3")
    }

    @Test(.enabled(if: ExactlyOnceFixture.realServers != nil))
    func twoDestinationsOfAnOutboxShareNeitherNumbersNorProducers() async throws {
        let fixture = try await ExactlyOnceFixture.make()
        let destination = try fixture.destination()
        let b = try await destination.takeOver(slot: 4, destination: "b", last: nil)
        #expect(
            await b.publish([event(0, fixture.name)], as: inflight(1, "b", fixture.name)).outcomes.allSatisfy(
                \.isAccepted
            )
        )
        // Its batch 1 was noted and not sent.
        let a = try await destination.takeOver(slot: 4, destination: "a", last: inflight(1, "a", fixture.name))
        #expect(a.lastNumber == 0)
        // And b's producer is not fenced.
        #expect(
            await b.publish([event(1, fixture.name)], as: inflight(2, "b", fixture.name)).outcomes.allSatisfy(
                \.isAccepted
            )
        )
        for writer in [a, b] { await writer.close() }
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 2)
        #expect(anomaly == nil)
        await fixture.close()
    }

    @Test(.enabled(if: ExactlyOnceFixture.realServers != nil))
    func rowsThatWereNotSentAreNotDeletedWhereTheDatabaseHasForgottenItsNotes() async throws {
        let fixture = try await ExactlyOnceFixture.make()
        func publish() async throws {
            let publisher = fixture.publisher(try fixture.destination())
            async let running: Void = publisher.run()
            try await fixture.waitUntilPublished()
            await publisher.close()
            try await running
        }
        try await fixture.write(16)
        try await publish()
        // As in tables that were made anew: Kafka still has the number of each slot's last batch.
        try await fixture.writer.query(OutboxStatement("DELETE FROM outbox_inflight"))
        try await fixture.write(16, from: 16)
        // The first batch of a slot is noted, and never sent.
        #expect(try await fixture.process("noted").end() == .signal(SIGKILL))
        try await publish()
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 32)
        #expect(anomaly == nil)
        await fixture.close()
    }

    /// What was sent since the backup comes again, and nothing that was not sent is deleted for it.
    @Test(.enabled(if: ExactlyOnceFixture.realServers != nil))
    func aDatabaseThatIsRestoredFromABackupLosesNothingAndGoesOn() async throws {
        let fixture = try await ExactlyOnceFixture.make()
        func publish() async throws {
            let publisher = fixture.publisher(try fixture.destination())
            async let running: Void = publisher.run()
            try await fixture.waitUntilPublished()
            await publisher.close()
            try await running
        }
        try await fixture.write(100)
        try await publish()
        try await fixture.write(50, from: 100)
        // The backup: with the notes as they are, and 50 rows that wait.
        for table in ["outbox", "outbox_inflight"] {
            try await fixture.writer.query(OutboxStatement("CREATE TABLE backup_\(table) AS SELECT * FROM \(table)"))
        }
        try await publish()
        try await fixture.write(50, from: 150)
        // A batch is noted and not sent when the machine is lost.
        #expect(try await fixture.process("noted").end() == .signal(SIGKILL))
        for statement in [
            "DELETE FROM outbox", "DELETE FROM outbox_inflight",
            "INSERT INTO outbox_inflight SELECT * FROM backup_outbox_inflight",
            "INSERT INTO outbox (id, idempotency_key, destination, topic, key, payload, headers, created_at) "
                + "SELECT id, idempotency_key, destination, topic, key, payload, headers, created_at "
                + "FROM backup_outbox",
            "SELECT setval('outbox_id_seq', (SELECT max(id) FROM backup_outbox))",
        ] {
            try await fixture.writer.query(OutboxStatement(statement))
        }
        // The application does again what the backup does not know.
        try await fixture.write(50, from: 150)
        try await publish()
        let records = try await fixture.committed()
        #expect(ExactlyOnceFixture.check(records, count: 200, repeats: 50) == nil)
        await fixture.close()
    }

    @Test func aRowWhoseTopicCannotBeIsParkedAndItsSlotGoesOn() async throws {
        let fixture = try await ExactlyOnceFixture.make()
        let destination = try fixture.destination()
        for topic in ["orders/new", String(repeating: "t", count: 250)] {
            let writer = try await destination.takeOver(
                slot: 4,
                destination: "kafka",
                last: inflight(1, "kafka", topic)
            )
            #expect(writer.lastNumber == 0)
            await writer.close()
        }
        // First in its slot, so that its topic is the note's.
        try await fixture.writer.query(
            fixture.outbox.table.insert(OutboxMessage(topic: "orders/new", key: "k3", payload: "poison"))
        )
        try await fixture.write(16)
        let publisher = fixture.publisher(destination)
        async let running: Void = publisher.run()
        try await fixture.waitUntilPublished()
        await publisher.close()
        try await running
        let parked = try await fixture.outbox.parked(key: nil, limit: 10)
        #expect(parked.map(\.event.message.topic) == ["orders/new", fixture.name])
        if ExactlyOnceFixture.realServers != nil {
            #expect(Set(try await fixture.committed().map(\.value)).count == 15)
        }
        await fixture.close()
    }
}
