import Foundation
import OutboxDelivery
import OutboxPostgres
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5)))
struct PublishingTests {
    @Test func whatIsCommittedIsPublishedInOrderAndDeleted() async throws {
        let test = try await TestOutbox.make()
        for number in 0..<200 {
            try await test.write(OutboxMessage(topic: "\(number)", key: "k\(number % 7)", payload: "x"))
        }
        let recorder = Recorder()
        try await running(test.publisher(recorder)) {
            await recorder.wait(for: 200)
            try await test.write(OutboxMessage(topic: "200", key: "k0", payload: "x"))
            try await test.outbox.wake()
            await recorder.wait(for: 201)
            try await test.wait(until: 0, "SELECT count(*) FROM outbox")
        }
        #expect(recorder.accepted.count == 201)
        for (_, events) in Dictionary(grouping: recorder.accepted, by: \.message.key) {
            let numbers = events.compactMap { Int($0.message.topic) }
            #expect(numbers == numbers.sorted())
        }
        await test.close()
    }

    @Test func whatIsRolledBackIsNeverPublishedAlsoToASavepoint() async throws {
        struct Undo: Error {}
        let test = try await TestOutbox.make()
        let insert = { (topic: String) in
            try test.outbox.table.insert(OutboxMessage(topic: topic, key: "k", payload: ""))
        }
        let recorder = Recorder()
        try await running(test.publisher(recorder)) {
            try? await test.writer.withTransaction { transaction in
                try await transaction.query(insert("undone"))
                throw Undo()
            }
            try await test.writer.withTransaction { transaction in
                try await transaction.query(insert("first"))
                try await transaction.query(OutboxStatement("SAVEPOINT s"))
                try await transaction.query(insert("undone too"))
                try await transaction.query(OutboxStatement("ROLLBACK TO s"))
                try await transaction.query(insert("second"))
            }
            await recorder.wait(for: 2)
            try await test.write(OutboxMessage(topic: "last", key: "k", payload: ""))
            await recorder.wait(for: 3)
        }
        #expect(recorder.topics == ["first", "second", "last"])
        await test.close()
    }

    @Test func aPreparedTransactionsEventIsPublishedAfterItsCommitAndStallsNoOther() async throws {
        let test = try await TestOutbox.make()
        let recorder = Recorder()
        let name = "prepared_\(test.database.schema)"
        try await running(test.publisher(recorder)) {
            let other = try await test.database.connect()
            try await other.query(OutboxStatement("BEGIN"))
            try await other.query(try test.outbox.table.insert(OutboxMessage(topic: "prepared", key: "a", payload: "")))
            try await other.query(OutboxStatement("PREPARE TRANSACTION '\(name)'"))
            await other.close()
            try await test.write(OutboxMessage(topic: "b", key: "b", payload: ""))
            await recorder.wait(for: 1)
            #expect(recorder.topics == ["b"])
            try await test.writer.query(OutboxStatement("COMMIT PREPARED '\(name)'"))
            await recorder.wait(for: 2)
        }
        #expect(recorder.topics == ["b", "prepared"])
        await test.close()
    }

    @Test func aWriterThatStaysOpenStallsNoOtherAndItsLowNumberIsNotLost() async throws {
        let test = try await TestOutbox.make()
        let recorder = Recorder()
        try await running(test.publisher(recorder)) {
            let early = try await test.database.connect()
            try await early.query(OutboxStatement("BEGIN"))
            try await early.query(try test.outbox.table.insert(OutboxMessage(topic: "early", key: "a", payload: "")))
            for number in 0..<50 { try await test.write(OutboxMessage(topic: "\(number)", key: "b", payload: "")) }
            await recorder.wait(for: 50)
            try await early.query(OutboxStatement("COMMIT"))
            await recorder.wait(for: 51)
            await early.close()
        }
        #expect(recorder.topics.last == "early")
        await test.close()
    }

    @Test func hostileMessagesArriveByteForByte() async throws {
        let test = try await TestOutbox.make()
        let bytes = [UInt8](0...255)
        let hostile = OutboxMessage(
            topic: "'; DROP TABLE outbox; --\"\\{}$1",
            key: bytes,
            payload: [UInt8](repeating: 0xFF, count: 10_000_000),
            headers: [OutboxHeader("\u{0}'\"", bytes), OutboxHeader("a", nil), OutboxHeader("a", "é\u{1F600}")],
            attributes: ["partition": "3"],
            idempotencyKey: "'\"\\\n"
        )
        let long = OutboxMessage(topic: "long", key: [UInt8](repeating: 7, count: 9_000), payload: nil)
        try await test.write(hostile, long, OutboxMessage(topic: "empty", key: [], payload: []))
        let recorder = Recorder()
        try await running(test.publisher(recorder)) { await recorder.wait(for: 3) }
        let read = Dictionary(uniqueKeysWithValues: recorder.accepted.map { ($0.message.topic, $0.message) })
        #expect(read[hostile.topic] == hostile)
        #expect(read["long"] == long)
        #expect(read["empty"]?.key == [] && read["empty"]?.payload == [])
        await test.close()
    }

    @Test func eachDestinationGetsItsOwnAndOneThatIsAwayStallsNoOther() async throws {
        let test = try await TestOutbox.make()
        for number in 0..<100 {
            try await test.write(
                OutboxMessage(
                    destination: number % 2 == 0 ? "kafka" : "http",
                    topic: "\(number)",
                    key: "k",
                    payload: ""
                )
            )
        }
        let kafka = Recorder()
        let isBack = Flag()
        let http = Recorder { _ in isBack.isSet ? nil : .unavailable(reason: "connection refused") }
        try await running(test.publisher(["kafka": kafka, "http": http])) {
            await kafka.wait(for: 50)
            #expect(http.accepted.isEmpty)
            isBack.set()
            await http.wait(for: 50)
        }
        #expect(kafka.topics == (0..<50).map { "\($0 * 2)" })
        #expect(http.topics == (0..<50).map { "\($0 * 2 + 1)" })
        await test.close()
    }

    @Test func rowsForADestinationThatNobodyHasAreToldAndStay() async throws {
        let test = try await TestOutbox.make()
        try await test.write(OutboxMessage(destination: "nowhere", topic: "t", key: "k", payload: ""))
        let publisher = test.publisher(Recorder())
        try await running(publisher) {
            for await event in publisher.events {
                if case .unknownDestination(let name) = event {
                    #expect(name == "nowhere")
                    break
                }
            }
        }
        #expect(try await test.count() == 1)
        await test.close()
    }

    // How long an interval may be is PublisherBacklogTests' to say, by a clock of its own.
    @Test func aLostNotificationCostsAPollIntervalAndNoMore() async throws {
        let test = try await TestOutbox.make()
        let store = CountingStore(test.outbox)
        // How many reads had begun when an event arrived: none begins while it is at its destination.
        let arrivals = Mutex<[Int]>([])
        let recorder = Recorder { _ in
            arrivals.withLock { $0.append(store.counts.reads) }
            return nil
        }
        let publisher = OutboxPublisher(store: store, destinations: ["kafka": recorder])
        try await running(publisher) {
            try await test.write(OutboxMessage(topic: "1", key: "k", payload: ""))
            await recorder.wait(for: 1)
            for number in 2...4 {
                // Nothing tells of it, and the publisher is idle: the next read after the commit finds the row.
                while try await test.count() > 0 { try await Task.sleep(for: .milliseconds(2)) }
                let (waits, reads) = store.counts
                // It may also wake up to show that it is alive.
                while store.counts.waits < waits + 2 || store.counts.reads == reads {
                    try await Task.sleep(for: .milliseconds(2))
                }
                try await test.write(OutboxMessage(topic: "\(number)", key: "k", payload: ""))
                let before = store.counts.reads
                await recorder.wait(for: number)
                #expect(arrivals.withLock { $0.last ?? .max } <= before + 1)
            }
        }
        await test.close()
    }

    @Test func closingReportsWhatWasPublishedAndWhatWasAbandoned() async throws {
        let test = try await TestOutbox.make()
        try await test.write(OutboxMessage(topic: "hangs", key: "k", payload: ""))
        let begun = Flag()
        let hanging = Recorder { _ in
            begun.set()
            try? await Task.sleep(for: .seconds(600))
            return .unknown(reason: "cancelled")
        }
        let publisher = test.publisher(hanging)
        let running = Task { try await publisher.run() }
        await begun.wait()
        let report = await publisher.close(within: .milliseconds(50))
        try await running.value
        #expect(report.abandoned == 1 && report.published == 0)
        #expect(try await test.count() == 1)
        #expect(await publisher.close() == report)
        await test.close()
    }
}
