import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Commits, hand-overs and dead letters in histories written by hand.
struct HistoryCommitTests {
    @Test func aCommitPastAMessageWithoutAVerdictIsFound() {
        var script = HistoryScript()
        script.send(0...2)
        script.join("a", .none)
        for offset in Int64(0)...2 { script.deliver(offset, to: "a") }
        script.acknowledge(0, by: "a")
        script.acknowledge(2, by: "a")
        script.commit(1)
        #expect(script.kinds == [])
        script.commit(3)
        #expect(script.kinds == [.committedPastUnsettled])
        #expect(script.anomalies().first?.position == HistoryScript.at(1))
        // That it is settled afterwards makes nothing better, and a later commit nothing worse.
        script.acknowledge(1, by: "a")
        script.commit(3)
        #expect(script.kinds == [.committedPastUnsettled])
    }

    @Test func aCommitPastAMessageThatFailedIsFound() {
        var script = HistoryScript()
        script.send(0...1)
        script.join("a", .none, maximumAttempts: 3)
        script.deliver(0, to: "a")
        script.fail(0, by: "a")
        script.deliver(1, to: "a")
        script.acknowledge(1, by: "a")
        script.commit(2)
        #expect(script.kinds == [.committedPastUnsettled])
    }

    @Test func aRunThatBeginsBehindAnUnsettledMessageIsFound() {
        var script = HistoryScript()
        script.send(0...2)
        script.join("a")
        script.handle(0...0, by: "a")
        script.deliver(1, to: "a")
        script.add(.lost([HistoryScript.partition]), by: "a")
        script.join("b")
        var skipping = script
        script.handle(1...2, by: "b")
        #expect(script.kinds == [])
        skipping.handle(2...2, by: "b")
        #expect(skipping.kinds == [.committedPastUnsettled])
    }

    @Test func aCommitThatGoesBackIsFound() {
        var script = HistoryScript()
        script.send(0...2)
        script.join("a")
        script.handle(0...2, by: "a")
        script.commit(1)
        script.commit(3)
        script.commit(3)
        #expect(script.kinds == [])
        script.commit(2)
        #expect(script.kinds == [.commitMovedBack])
        // What two observers see at the same time has no order.
        var other = HistoryScript()
        other.send(0...2)
        other.join("a")
        other.handle(0...2, by: "a")
        other.add(.committed(HistoryScript.partition, offset: 3), by: "one")
        other.add(.committed(HistoryScript.partition, offset: 2), by: "two")
        #expect(other.kinds == [])
    }

    // MARK: Hand-overs

    /// Two messages, both settled, and both delivered again, with something in between.
    private static func redelivered(
        unsettled: [Int64] = [],
        _ end: (inout HistoryScript) -> Void
    ) -> [DeliveryHistory.Anomaly] {
        var script = HistoryScript()
        script.send(0...1)
        script.join("a")
        for offset in Int64(0)...1 {
            script.deliver(offset, to: "a")
            if !unsettled.contains(offset) { script.acknowledge(offset, by: "a") }
        }
        end(&script)
        script.join("b")
        script.handle(0...1, by: "b")
        return script.anomalies()
    }

    @Test func whatWasSettledBeforeACleanHandOverDoesNotComeAgain() {
        let both = Self.redelivered { $0.revoke(from: "a") }
        #expect(both.map(\.kind) == [.settledRedelivered, .settledRedelivered])
        let first = Self.redelivered(unsettled: [1]) { $0.revoke(from: "a", unsettled: 1) }
        #expect(first.map(\.position) == [HistoryScript.at(0)])
    }

    @Test func whatCouldNotBeHandedOverCleanlyMayComeAgain() {
        let partition = HistoryScript.partition
        #expect(Self.redelivered { $0.add(.lost([partition]), by: "a") } == [])
        #expect(Self.redelivered { _ in } == [], "killed")
        // A verdict came too late, and nobody knows whose.
        #expect(Self.redelivered { $0.revoke(from: "a", unsettled: 1) } == [])
        #expect(
            Self.redelivered {
                $0.add(.commitFailed([partition]), by: "a")
                $0.revoke(from: "a")
            } == []
        )
        // Stopped for so long that the group went on without it, it still hands out what it had.
        var zombie = HistoryScript()
        zombie.send(0...0)
        zombie.join("zombie")
        zombie.join("a")
        zombie.handle(0...0, by: "a")
        zombie.revoke(from: "a")
        zombie.handle(0...0, by: "zombie")
        #expect(zombie.kinds == [])
        // Settled, behind one that was not.
        #expect(Self.redelivered(unsettled: [0]) { $0.revoke(from: "a", unsettled: 1) } == [])
    }

    @Test func aDeadLetterCountsAsSettledInAHandOver() {
        var script = HistoryScript()
        script.send(0...1)
        script.join("a", maximumAttempts: 1)
        script.deliver(0, to: "a")
        script.fail(0, by: "a")
        script.add(.deadLettered(HistoryScript.at(0)), by: "a")
        script.handle(1...1, by: "a")
        script.revoke(from: "a")
        script.add(.deadLetter(of: HistoryScript.at(0), at: .init(.init(topic: "dlt", partition: 0), 0), value: "0"))
        script.join("b")
        #expect(script.kinds == [])
        script.handle(1...1, by: "b")
        #expect(script.kinds == [.settledRedelivered])
    }

    @Test func aConsumerThatIsMadeAfterACommitDoesNotGetWhatIsCommitted() {
        var script = HistoryScript()
        script.send(0...1)
        script.join("early")
        script.join("a")
        script.handle(0...1, by: "a")
        script.commit(2)
        // It was there before, and may have been assigned the partition before.
        script.handle(1...1, by: "early")
        #expect(script.kinds == [])
        script.join("b")
        script.handle(1...1, by: "b")
        #expect(script.kinds == [.committedRedelivered])
    }

    // MARK: Dead letters

    private static func givenUp(_ change: (inout HistoryScript) -> Void = { _ in }) -> HistoryScript {
        var script = HistoryScript()
        script.send(0...1)
        script.join("a", maximumAttempts: 2)
        script.deliver(0, to: "a")
        script.fail(0, by: "a")
        script.deliver(0, attempt: 2, to: "a")
        script.fail(0, attempt: 2, by: "a")
        change(&script)
        script.handle(1...1, by: "a")
        script.commit(2)
        return script
    }

    private static let letter = DeliveryHistory.Position(.init(topic: "orders-dlt", partition: 0), 0)

    @Test func aMessageThatWasGivenUpNeedsItsDeadLetter() {
        #expect(Self.givenUp().kinds == [.settledWithoutDeadLetter])
        #expect(Self.givenUp { $0.add(.deadLetter(of: HistoryScript.at(0), at: Self.letter, value: "0")) }.kinds == [])
        // One that was not worth another attempt needs it just as much, and then holds nothing back.
        func early(_ change: (inout HistoryScript) -> Void = { _ in }) -> HistoryScript {
            var script = HistoryScript()
            script.send(0...1)
            script.join("a", maximumAttempts: 3)
            script.deliver(0, to: "a")
            script.fail(0, by: "a")
            change(&script)
            script.handle(1...1, by: "a")
            script.commit(2)
            return script
        }
        #expect(early { $0.add(.deadLetter(of: HistoryScript.at(0), at: Self.letter, value: "0")) }.kinds == [])
        #expect(early().kinds == [.nonMonotonicPoll, .committedPastUnsettled])
        // Somebody else could handle it.
        #expect(Self.givenUp { $0.handle(0...0, by: "b") }.kinds == [])
    }

    @Test func aDeadLetterNeedsItsOriginal() {
        let kinds: (DeliveryHistory.Position, String) -> [DeliveryHistory.Anomaly.Kind] = { original, value in
            var script = Self.givenUp { $0.add(.deadLetter(of: HistoryScript.at(0), at: Self.letter, value: "0")) }
            script.add(.deadLetter(of: original, at: Self.letter, value: value))
            return script.kinds
        }
        #expect(kinds(HistoryScript.at(0), "0") == [], "it may be there twice")
        #expect(kinds(HistoryScript.at(7), "7") == [.deadLetterWithoutOriginal], "unknown")
        #expect(kinds(HistoryScript.at(0), "other") == [.deadLetterWithoutOriginal], "changed")
        #expect(kinds(HistoryScript.at(1), "1") == [.deadLetterWithoutOriginal], "never failed")
    }

    // MARK: Recording

    @Test func aHistoryInAFileSurvivesALineThatWasNotFinished() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("history-\(UUID()).jsonl").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        let partition = HistoryScript.partition
        let position = HistoryScript.at(7)
        let attempt = DeliveryHistory.Attempt(position, generation: 2, attempt: 3)
        let events: [DeliveryHistory.Event] = [
            .sending(value: "line\nbreak", key: nil), .sent(value: "x", at: position), .sent(value: "x", at: nil),
            .sendFailed(value: "x", mayBeStored: true), .joined(.handOut, maximumAttempts: nil),
            .joined(.key, maximumAttempts: 3), .assigned([partition], generation: 4),
            .delivered(attempt, value: "x", key: "k"), .acknowledged(attempt), .failed(attempt),
            .deadLettered(position),
            .revoked([partition], unsettled: 1), .lost([partition]), .commitFailed([partition]),
            .committed(partition, offset: 8), .stored(position, value: "x", key: nil),
            .deadLetter(of: position, at: HistoryScript.at(0, 1), value: "x"),
        ]
        // Two processes write the same file.
        let recorders = try (0..<2).map { _ in try DeliveryHistory.Recorder(file: path) }
        for (number, event) in events.enumerated() { recorders[number % 2].record(event, by: "p\(number % 2)") }
        let handle = try #require(FileHandle(forWritingAtPath: path))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(#"{"time":12,"proc"#.utf8))
        let history = try recorders[0].history
        #expect(history.records.map(\.event) == events)
        #expect(history.records.map(\.process).prefix(3) == ["p0", "p1", "p0"])
        // In the middle such a line is none that a kill explains.
        try handle.write(contentsOf: Data("\n{}\n".utf8))
        #expect(throws: DeliveryHistory.Failure.self) { try recorders[0].history }
    }

    @Test func aHistoryThatIsTooLongIsNotTrusted() throws {
        let recorder = DeliveryHistory.Recorder(maximumRecords: 2)
        for number in 0..<2 { recorder.record(.sending(value: "\(number)", key: nil), by: "p") }
        #expect(try recorder.history.records.count == 2)
        recorder.record(.sending(value: "2", key: nil), by: "p")
        #expect(throws: DeliveryHistory.Failure.self) { try recorder.history }
    }

    @Test func historiesOfSeveralProcessesAreMergedByTime() {
        let events = (0..<4).map { DeliveryHistory.Event.sending(value: "\($0)", key: nil) }
        let records = events.enumerated().map { DeliveryHistory.Record(process: "p", time: UInt64($0), event: $1) }
        let merged = DeliveryHistory(merging: [.init([records[1], records[3]]), .init([records[2], records[0]])])
        #expect(merged.records == records)
    }
}
