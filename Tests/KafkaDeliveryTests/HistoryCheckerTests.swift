import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Each anomaly is found where it is, and not where something only looks like it.
struct HistoryCheckerTests {
    @Test func aHistoryInWhichAllIsWellHasNoAnomalies() {
        var script = HistoryScript()
        script.send(0...9)
        script.join("a")
        script.handle(0...4, by: "a")
        script.commit(5)
        script.revoke(from: "a")
        script.join("b")
        script.handle(5...9, by: "b")
        script.commit(10)
        for offset in Int64(0)...9 { script.add(.stored(HistoryScript.at(offset), value: "\(offset)", key: nil)) }
        #expect(script.anomalies() == [])
    }

    // MARK: Sends

    @Test func aConfirmedMessageThatLaterOnesOvertookIsALostWrite() {
        var script = HistoryScript()
        script.send(0...2)
        script.join("a", .none)
        script.handle(0...0, by: "a")
        script.handle(2...2, by: "a")
        #expect(script.kinds == [.lostWrite])
        #expect(script.anomalies().first?.position == HistoryScript.at(1))
        // Another consumer got it: not lost.
        script.join("b", .none)
        script.handle(1...1, by: "b")
        #expect(script.kinds == [])
    }

    @Test func aConfirmedMessageThatTheLogDoesNotHaveIsALostWrite() {
        var script = HistoryScript()
        script.send(0...2)
        script.join("a")
        script.handle(0...2, by: "a")
        script.add(.stored(HistoryScript.at(0), value: "0", key: nil))
        script.add(.stored(HistoryScript.at(2), value: "2", key: nil))
        #expect(script.kinds == [.lostWrite])
        script.add(.stored(HistoryScript.at(1), value: "1", key: nil))
        #expect(script.kinds == [])
    }

    @Test func aConfirmedMessageThatNobodyGotIsUnseen() {
        var script = HistoryScript()
        script.send(0...1)
        script.join("a")
        script.handle(0...0, by: "a")
        #expect(script.kinds == [.unseen])
        // One that may not even be stored does not have to be seen.
        var other = HistoryScript()
        other.add(.sending(value: "x", key: nil))
        other.add(.sendFailed(value: "x", mayBeStored: true))
        #expect(other.kinds == [])
        // One that is confirmed without a place has to be seen all the same.
        other.add(.sent(value: "y", at: nil))
        #expect(other.kinds == [.unseen])
    }

    @Test func aMessageAtTwoOffsetsIsADuplicateAndARedeliveryIsNot() {
        var script = HistoryScript()
        script.send(0...1)
        script.join("a")
        script.handle(0...1, by: "a")
        script.add(.lost([HistoryScript.partition]), by: "a")
        script.join("b")
        script.handle(0...1, by: "b")
        for offset in Int64(0)...1 { script.add(.stored(HistoryScript.at(offset), value: "\(offset)", key: nil)) }
        #expect(script.kinds == [])
        script.add(.stored(HistoryScript.at(2), value: "1", key: nil))
        #expect(script.kinds == [.duplicate])
        #expect(script.anomalies(.init([.lostWrite, .pollSkip])) == [])
    }

    @Test func anOffsetWithTwoMessagesIsInconsistent() {
        var script = HistoryScript()
        script.send(0...0)
        script.join("a")
        script.handle(0...0, by: "a")
        script.add(.stored(HistoryScript.at(0), value: "0", key: nil))
        #expect(script.kinds == [])
        script.add(.stored(HistoryScript.at(0), value: "other", key: nil))
        #expect(script.kinds == [.inconsistentOffsets])
    }

    @Test func aMessageThatIsThereAlthoughItCertainlyIsNotIsAnAbortedRead() {
        for (mayBeStored, expected) in [(false, [DeliveryHistory.Anomaly.Kind.abortedRead]), (true, [])] {
            var script = HistoryScript()
            script.add(.sending(value: "0", key: nil), by: "producer")
            script.add(.sendFailed(value: "0", mayBeStored: mayBeStored), by: "producer")
            script.join("a")
            script.handle(0...0, by: "a")
            #expect(script.kinds == expected)
        }
    }

    // MARK: Runs

    @Test func aRunThatLeavesAKnownMessageOutSkips() {
        var script = HistoryScript()
        script.send(0...3)
        script.join("a", .handOut)
        script.deliver(0, to: "a")
        script.deliver(2, to: "a")
        script.add(.lost([HistoryScript.partition]), by: "a")
        // It was skipped, although the next owner got it.
        script.join("b")
        script.handle(0...3, by: "b")
        #expect(script.kinds == [.pollSkip])
        #expect(script.anomalies().first?.position == HistoryScript.at(1))
    }

    @Test func aGapThatNoMessageIsKnownInIsNoSkip() {
        // Offsets 1 and 2 are a transaction's control records, for instance.
        var script = HistoryScript()
        script.send(0...0)
        script.send(3...3)
        script.join("a")
        script.handle(0...0, by: "a")
        script.handle(3...3, by: "a")
        #expect(script.kinds == [])
    }

    @Test func aRunOfAKeySkipsOnlyWhatHasTheKey() {
        var script = HistoryScript()
        script.send(0...3, keys: ["x", "y"])
        script.join("a", .key)
        script.deliver(0, key: "x", to: "a")
        script.deliver(2, key: "x", to: "a")
        script.add(.lost([HistoryScript.partition]), by: "a")
        script.join("b", .none)
        for offset in Int64(0)...3 { script.deliver(offset, key: offset % 2 == 0 ? "x" : "y", to: "b") }
        #expect(script.kinds == [])
        script.join("c", .key)
        script.deliver(1, key: "y", to: "c")
        script.deliver(0, key: "x", to: "c")
        script.deliver(3, key: "y", to: "c")
        #expect(script.kinds == [])
        script.send(4...5, keys: ["x", "y"])
        script.deliver(5, key: "y", to: "c")
        script.deliver(4, key: "x", to: "c")
        #expect(script.kinds == [.pollSkip], "offset 2 has the key x and was left out between 0 and 4")
    }

    @Test func aRunThatGoesBackIsNonMonotonic() {
        var script = HistoryScript()
        script.send(0...2)
        script.join("a")
        script.handle(0...0, by: "a")
        script.handle(2...2, by: "a")
        script.handle(1...1, by: "a")
        #expect(script.kinds == [.nonMonotonicPoll])
        // In a generation of its own it may.
        var other = HistoryScript()
        other.send(0...2)
        other.join("a")
        other.handle(0...2, by: "a")
        other.add(.lost([HistoryScript.partition]), by: "a")
        other.handle(1...2, by: "a", generation: 2)
        #expect(other.kinds == [])
    }

    @Test func aMessageThatComesAgainWithoutHavingFailedIsNonMonotonic() {
        for order in [DeliveryHistory.Order.partition, .key, .handOut, .none] {
            var script = HistoryScript()
            script.send(0...0)
            script.join("a", order)
            script.deliver(0, to: "a")
            script.fail(0, by: "a")
            script.deliver(0, attempt: 2, to: "a")
            #expect(script.kinds == [])
            script.deliver(0, attempt: 3, to: "a")
            #expect(script.kinds == [.nonMonotonicPoll])
        }
        var twice = HistoryScript()
        twice.send(0...0)
        twice.join("a", .none)
        twice.deliver(0, to: "a")
        twice.deliver(0, to: "a")
        #expect(twice.kinds == [.nonMonotonicPoll])
        var jump = HistoryScript()
        jump.send(0...0)
        jump.join("a", .none)
        jump.deliver(0, to: "a")
        jump.fail(0, by: "a")
        jump.deliver(0, attempt: 3, to: "a")
        #expect(jump.kinds == [.nonMonotonicPoll])
    }

    @Test func whatFailedComesBeforeWhatIsLater() {
        func script(_ order: DeliveryHistory.Order, key: String? = nil) -> HistoryScript {
            var script = HistoryScript()
            script.send(0...1, keys: [key])
            script.join("a", order)
            script.deliver(0, key: key, to: "a")
            script.fail(0, by: "a")
            script.deliver(1, key: key, to: "a")
            script.deliver(0, attempt: 2, key: key, to: "a")
            return script
        }
        #expect(script(.partition).kinds == [.nonMonotonicPoll])
        #expect(script(.key, key: "x").kinds == [.nonMonotonicPoll])
        // Without a key, or where each delivery has a task of its own, nothing has to wait for it.
        #expect(script(.key).kinds == [])
        #expect(script(.handOut).kinds == [])
        #expect(script(.none).kinds == [])
        // Of two that failed the first comes first.
        var batch = HistoryScript()
        batch.send(0...1)
        batch.join("a")
        for offset in [Int64(0), 1] { batch.deliver(offset, to: "a") }
        for offset in [Int64(0), 1] { batch.fail(offset, by: "a") }
        batch.deliver(1, attempt: 2, to: "a")
        batch.deliver(0, attempt: 2, to: "a")
        #expect(batch.kinds == [.nonMonotonicPoll])
    }
}
