import DeliveryTesting
import Foundation
import KafkaDelivery
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import Testing

@Suite(.serialized, .timeLimit(.minutes(5)))
struct ExactlyOnceTests {
    @Test func eachEventIsStoredOnceInOrderAndTheOutboxIsEmpty() async throws {
        let fixture = try await ExactlyOnceFixture.make()
        try await fixture.write(400)
        let publisher = fixture.publisher(try fixture.destination())
        async let running: Void = publisher.run()
        try await fixture.waitUntilPublished()
        try await fixture.write(100, from: 400)
        try await fixture.outbox.wake()
        try await fixture.waitUntilPublished()
        await publisher.close()
        try await running
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 500)
        #expect(anomaly == nil)
        let rows = try await fixture.writer.query(
            OutboxStatement("SELECT count(*), min(batch) FROM outbox_inflight")
        )
        // Not counted from 1 on: where the notes are lost no number comes again.
        #expect(rows.integer(0, 0) ?? 0 > 1 && rows.integer(0, 1) ?? 0 > 1 << 60)
        await fixture.close()
    }

    @Test func aRecordThatIsRefusedIsParkedAndTheOthersOfItsBatchAreStoredOnce() async throws {
        let fixture = try await ExactlyOnceFixture.make()
        try await fixture.write(20, keys: 20)
        let poison = OutboxMessage(
            topic: fixture.name,
            key: "k3",
            payload: [UInt8](repeating: 0, count: 2_000_000),
            attributes: ["partition": "0"]
        )
        try await fixture.writer.query(fixture.outbox.table.insert(poison))
        try await fixture.write(20, keys: 20, from: 20)
        let publisher = fixture.publisher(try fixture.destination())
        async let running: Void = publisher.run()
        try await fixture.waitUntilPublished()
        await publisher.close()
        try await running
        let parked = try await fixture.outbox.parked(key: nil, limit: 10)
        #expect(parked.map(\.event.message.payload?.count).contains(2_000_000) && parked.count == 2)
        #expect(parked.first?.attempts == 1)
        if ExactlyOnceFixture.realServers != nil {
            let records = try await fixture.committed()
            #expect(records.count == 39 && Set(records.map(\.value)).count == 39)
        }
        await fixture.close()
    }

    @Test(.enabled(if: ExactlyOnceFixture.realServers != nil))
    func aWriterWhoseSlotWasTakenOverStoresNothing() async throws {
        let fixture = try await ExactlyOnceFixture.make()
        let destination = try fixture.destination()
        func event(_ number: Int64) -> OutboxEvent {
            OutboxEvent(
                id: .init(slot: 4, number: number),
                createdAt: Date(timeIntervalSince1970: 0),
                message: OutboxMessage(
                    topic: fixture.name,
                    key: "k",
                    payload: "\(number)",
                    attributes: ["partition": "0"]
                )
            )
        }
        func inflight(_ number: Int64) -> OutboxInflight {
            OutboxInflight(slot: 4, destination: "kafka", number: number, topic: fixture.name, rows: [number])
        }
        let first = try await destination.takeOver(slot: 4, destination: "kafka", last: nil)
        #expect(await first.publish([event(0)], as: inflight(1)).outcomes.allSatisfy(\.isAccepted))
        let second = try await destination.takeOver(slot: 4, destination: "kafka", last: inflight(1))
        #expect(second.lastNumber == 1)
        #expect(await first.publish([event(7)], as: inflight(2)).outcomes.contains(where: \.isAccepted) == false)
        #expect(await second.publish([event(1)], as: inflight(2)).outcomes.allSatisfy(\.isAccepted))
        let third = try await destination.takeOver(slot: 4, destination: "kafka", last: inflight(2))
        #expect(third.lastNumber == 2)
        for writer in [first, second, third] { await writer.close() }
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 2)
        #expect(anomaly == nil)
        await fixture.close()
    }

    /// Each a moment at which a crash leaves something else behind.
    private static let steps = [
        "read", "initialized", "noting", "noted", "produced", "committed", "settling", "settled", "concluding",
        "concluded",
    ]

    @Test(.enabled(if: ExactlyOnceFixture.realServers != nil), arguments: steps)
    func noDuplicateIsVisibleWhenThePublisherDiesAt(_ step: String) async throws {
        let fixture = try await ExactlyOnceFixture.make()
        try await fixture.write(400)
        if step.hasPrefix("conclud") {
            // There is something to conclude where an earlier one died between the two commits.
            #expect(try await fixture.process("committed", count: 2).end() == .signal(SIGKILL))
        }
        let isRare = step.hasPrefix("conclud") || step == "read"
        #expect(try await fixture.process(step, count: isRare ? 1 : 3).end() == .signal(SIGKILL))
        let publisher = fixture.publisher(try fixture.destination())
        async let running: Void = publisher.run()
        try await fixture.waitUntilPublished()
        await publisher.close()
        try await running
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 400)
        #expect(anomaly == nil)
        await fixture.close()
    }

    @Test(.enabled(if: ExactlyOnceFixture.realServers != nil))
    func noDuplicateIsVisibleWhenAPublisherStandsStillAndItsSlotsMoveAndItGoesOn() async throws {
        let fixture = try await ExactlyOnceFixture.make(sessionTimeout: .seconds(3))
        let slots =
            "SELECT count(DISTINCT objid) FROM pg_locks WHERE locktype = 'advisory' AND objid < 32 AND granted "
            + "AND classid = 'outbox'::regclass::oid"
        let stopped = try fixture.process()
        try await fixture.write(300)
        try await fixture.wait("SELECT (count(*) > 3)::int::bigint FROM outbox_inflight", until: 1)
        stopped.send(signal: SIGSTOP)
        try await fixture.write(300, from: 300)
        // Others take its slots when the server has ended its session, and share them when there are more of them.
        let publishers = try (0..<3).map { _ in fixture.publisher(try fixture.destination()) }
        async let first: Void = publishers[0].run()
        try await fixture.waitUntilPublished()
        async let second: Void = publishers[1].run()
        async let third: Void = publishers[2].run()
        try await fixture.wait(slots, until: 32)
        stopped.send(signal: SIGCONT)
        try await fixture.write(600, from: 600)
        try await fixture.waitUntilPublished()
        await publishers[0].close()
        try await fixture.write(300, from: 1_200)
        try await fixture.waitUntilPublished()
        stopped.send(signal: SIGKILL)
        _ = await stopped.end()
        for publisher in publishers { await publisher.close() }
        _ = try await (first, second, third)
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 1_500)
        #expect(anomaly == nil)
        await fixture.close()
    }
}
