import OutboxDelivery
import OutboxPostgres
import Testing

@Suite(.timeLimit(.minutes(5)))
struct ParkingTests {
    private func rejecting(_ topic: String, until mended: Flag, isRetriable: Bool = true) -> Recorder {
        Recorder { event in
            event.message.topic == topic && !mended.isSet
                ? .rejected(reason: "it is poison", isRetriable: isRetriable) : nil
        }
    }

    private func message(_ topic: String, _ key: String) -> OutboxMessage {
        OutboxMessage(topic: topic, key: key, payload: "")
    }

    @Test func poisonStopsItsKeyOnlyAndResumingKeepsTheOrder() async throws {
        let test = try await TestOutbox.make()
        let mended = Flag()
        let recorder = rejecting("poison", until: mended)
        try await test.write(message("a1", "a"), message("poison", "a"), message("a3", "a"), message("b1", "b"))
        try await running(test.publisher(recorder)) {
            try await test.wait(until: 2, "SELECT count(*) FROM outbox_parked")
            // What is written later waits behind it, too.
            try await test.write(message("a4", "a"), message("b2", "b"))
            try await test.wait(until: 3, "SELECT count(*) FROM outbox_parked")
            await recorder.wait(for: 3)
            let parked = try await test.outbox.parked(key: Array("a".utf8), limit: 10)
            #expect(parked.map(\.event.message.topic) == ["poison", "a3", "a4"])
            #expect(parked.first?.attempts == 3)
            #expect(parked.first?.reason == "it is poison")

            mended.set()
            #expect(try await test.outbox.decide(.resume, .key(Array("a".utf8))) == 3)
            try await test.write(message("a5", "a"))
            await recorder.wait(for: 7)
            try await test.wait(until: 0, "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM outbox_parked)")
        }
        #expect(recorder.topics.filter { $0.hasPrefix("a") || $0 == "poison" } == ["a1", "poison", "a3", "a4", "a5"])
        #expect(recorder.topics.filter { $0.hasPrefix("b") } == ["b1", "b2"])
        await test.close()
    }

    // Publishers that park something wait behind the lock that waits; after ten seconds their sessions would end.
    @Test func aDecisionWaitsTwoSecondsForAPersonsOpenTransactionAndSaysWhatToEnd() async throws {
        let test = try await TestOutbox.make()
        let (person, publisher) = (try await test.database.connect(), try await test.database.connect())
        try await person.query(OutboxStatement("BEGIN"))
        try await person.query(OutboxStatement("UPDATE outbox_parked SET reason = ''"))
        let error = await #expect(throws: OutboxError.self) { try await test.outbox.decide(.resume, .all) }
        #expect(error?.code == "55P03" && error?.recovery == .retry && error?.persistence == .notPersisted)
        #expect(error?.reason.contains("outbox_parked") == true)
        // Nothing waits any more.
        try await publisher.query(OutboxStatement("UPDATE outbox_parked SET reason = ''"))
        try await person.query(OutboxStatement("COMMIT"))
        #expect(try await test.outbox.decide(.resume, .all) == 0)
        await person.close()
        await publisher.close()
        await test.close()
    }

    @Test func aDiscardedEventIsSkippedAndItsFollowersGoOnInOrder() async throws {
        let test = try await TestOutbox.make()
        let recorder = rejecting("poison", until: Flag(), isRetriable: false)
        try await test.write(message("poison", "a"), message("a2", "a"), message("a3", "a"))
        try await running(test.publisher(recorder)) {
            try await test.wait(until: 3, "SELECT count(*) FROM outbox_parked")
            let culprit = try #require(try await test.outbox.parked(key: nil, limit: 1).first)
            #expect(culprit.attempts == 1)
            #expect(try await test.outbox.decide(.discard, .event(culprit.event.id)) == 1)
            #expect(try await test.outbox.decide(.resume, .key(Array("a".utf8))) == 2)
            await recorder.wait(for: 2)
        }
        #expect(recorder.topics == ["a2", "a3"])
        await test.close()
    }

    @Test func aKeyThatIsDiscardedIsFreeAgain() async throws {
        let test = try await TestOutbox.make()
        let recorder = rejecting("poison", until: Flag(), isRetriable: false)
        try await test.write(message("poison", "a"), message("a2", "a"))
        try await running(test.publisher(recorder)) {
            try await test.wait(until: 2, "SELECT count(*) FROM outbox_parked")
            #expect(try await test.outbox.decide(.discard, .all) == 2)
            try await test.wait(until: 0, "SELECT count(*) FROM outbox_parked")
            try await test.write(message("a3", "a"))
            await recorder.wait(for: 1)
        }
        #expect(recorder.topics == ["a3"])
        await test.close()
    }

    @Test func skippingParksTheCulpritAlone() async throws {
        let test = try await TestOutbox.make()
        let recorder = rejecting("poison", until: Flag())
        try await test.write(message("poison", "a"), message("a2", "a"))
        try await running(test.publisher(recorder) { $0.retry.givingUp = .skip }) {
            await recorder.wait(for: 1)
            try await test.wait(until: 1, "SELECT count(*) FROM outbox_parked")
        }
        #expect(recorder.topics == ["a2"])
        await test.close()
    }

    @Test func anUnknownOutcomeIsSentAgainUntilItIsConfirmedAndNeverParked() async throws {
        let test = try await TestOutbox.make()
        let tries = Counter()
        let recorder = Recorder { event in
            event.message.topic == "a1" && tries.next() <= 10 ? .unknown(reason: "stored") : nil
        }
        try await test.write(message("a1", "a"), message("a2", "a"), message("b", "b"))
        try await running(test.publisher(recorder) { $0.retry.maximumDelay = .milliseconds(10) }) {
            await recorder.wait(for: 13)
        }
        #expect(try await test.count("outbox_parked") == 0)
        #expect(recorder.topics.filter { $0 != "b" } == Array(repeating: "a1", count: 11) + ["a2"])
        #expect(Set(recorder.accepted.filter { $0.message.topic == "a1" }.map(\.message.idempotencyKey)).count == 1)
        await test.close()
    }

    @Test func aRowWhoseHeadersNobodyCanReadIsParkedAndStopsNoOther() async throws {
        let test = try await TestOutbox.make()
        try await test.writer.query(
            OutboxStatement(
                "INSERT INTO outbox (idempotency_key, topic, key, headers) VALUES ('1', 'bad', 'a', '[1, 2]'), ('2', 'good', 'b', '{}')"
            )
        )
        let recorder = Recorder()
        try await running(test.publisher(recorder)) {
            await recorder.wait(for: 1)
            try await test.wait(until: 1, "SELECT count(*) FROM outbox_parked")
        }
        #expect(recorder.topics == ["good"])
        await test.close()
    }

    @Test func whatComesBeforeAParkedEventWithItsKeyIsPublishedAndWhatComesAfterWaits() async throws {
        let test = try await TestOutbox.make()
        try await test.write(message("a1", "a"), message("a2", "a"))
        try await test.writer.query(
            OutboxStatement(
                "INSERT INTO outbox (idempotency_key, topic, key, headers) VALUES ('1', 'bad', convert_to('a', 'UTF8'), '[1]')"
            )
        )
        try await test.write(message("a4", "a"))
        let recorder = Recorder()
        let publisher = test.publisher(recorder)
        try await running(publisher) {
            await recorder.wait(for: 2)
            try await test.wait(until: 2, "SELECT count(*) FROM outbox_parked")
            #expect(try await test.outbox.parked(key: nil, limit: 9).map(\.event.message.topic) == ["bad", "a4"])
        }
        #expect(recorder.topics == ["a1", "a2"])
        #expect(await publisher.close().parked == 1)
        await test.close()
    }
}
