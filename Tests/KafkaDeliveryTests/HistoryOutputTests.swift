import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What is wrong with outputs is found where it is, and not where something only looks like it.
struct HistoryOutputTests {
    private typealias Kind = DeliveryHistory.Anomaly.Kind

    /// Messages 0 to 4, sent, and transformed by "a".
    private func transformed(_ offsets: ClosedRange<Int64> = 0...4) -> HistoryScript {
        var script = HistoryScript()
        script.send(0...4)
        script.join("a")
        for offset in offsets { script.transform(offset, by: "a") }
        return script
    }

    @Test func oneOutputForEachMessageIsAllThatIsWanted() {
        var script = transformed()
        // A transaction that was aborted, or whose process was killed, is done again, there or elsewhere.
        script.transform(3, attempt: 2, by: "a")
        script.join("b")
        script.transform(4, by: "b")
        // Control records and what was aborted leave gaps.
        for offset in Int64(0)...4 { script.output(of: offset, at: offset * 3) }
        script.commit(5)
        #expect(script.anomalies() == [])
    }

    @Test func aMessageWithoutAnOutputIsLost() {
        var script = transformed()
        for offset in Int64(0)...3 { script.output(of: offset, at: offset) }
        #expect(script.kinds == [.lostOutput])
        #expect(script.anomalies().first?.position == HistoryScript.at(4))
        script.output(of: 4, at: 4)
        #expect(script.kinds == [])
    }

    @Test func anOffsetThatIsCommittedWithoutItsOutputIsFoundWhereverItWasSeen() {
        var script = transformed()
        // Seen before anybody looked for outputs, or after.
        script.commit(3)
        for offset in [0, 1, 3, 4] as [Int64] { script.output(of: offset, at: offset) }
        #expect(script.kinds == [.commitWithoutOutput])
        #expect(script.anomalies().first?.position == HistoryScript.at(2))
        script.commit(5)
        #expect(script.kinds == [.commitWithoutOutput])
        script.output(of: 2, at: 5)
        // It came, though late.
        #expect(script.kinds == [.reorderedOutput])
    }

    @Test func allOutputsLostIsFoundToo() {
        var script = transformed()
        script.commit(5)
        #expect(script.kinds == Array(repeating: .commitWithoutOutput, count: 5))
    }

    @Test func aSecondOutputIsADuplicateAndTheSameOneReadTwiceIsNot() {
        var script = transformed()
        for offset in Int64(0)...4 { script.output(of: offset, at: offset) }
        script.output(of: 2, at: 2)
        script.commit(5)
        #expect(script.kinds == [])
        script.output(of: 2, at: 7)
        #expect(script.kinds == [.duplicateOutput])
        #expect(script.anomalies().first?.position == HistoryScript.at(2))
        // In another partition too.
        var elsewhere = transformed()
        for offset in Int64(0)...4 { elsewhere.output(of: offset, at: offset) }
        elsewhere.output(of: 0, at: 0, partition: 1)
        elsewhere.commit(5)
        #expect(elsewhere.kinds == [.duplicateOutput])
    }

    @Test func anOutputThatComesAfterALaterOneIsReordered() {
        var script = transformed()
        for (place, offset) in ([0, 2, 1, 3, 4] as [Int64]).enumerated() {
            script.output(of: offset, at: Int64(place))
        }
        script.commit(5)
        #expect(script.kinds == [.reorderedOutput])
        #expect(script.anomalies().first?.position == HistoryScript.at(1))
        // By keys, they may go to several partitions: there is an order only within each.
        var spread = transformed()
        for offset in [0, 2, 4] as [Int64] { spread.output(of: offset, at: offset) }
        for offset in [1, 3] as [Int64] { spread.output(of: offset, at: offset, partition: 1) }
        spread.commit(5)
        #expect(spread.kinds == [])
    }

    @Test func anOutputOfNothingIsStrange() {
        var script = transformed(0...3)
        for offset in Int64(0)...3 { script.output(of: offset, at: offset) }
        // Known, and transformed by nobody.
        script.output(of: 4, at: 4)
        #expect(script.kinds == [.unseen, .outputWithoutInput])
        var other = transformed()
        for offset in Int64(0)...5 { other.output(of: offset, at: offset) }
        #expect(other.kinds == [.outputWithoutInput])
        #expect(other.anomalies().first?.position == HistoryScript.at(5))
    }

    @Test func anOutputThatCanBeReadWhileItsOffsetIsNotCommittedIsFound() {
        var script = transformed()
        for offset in Int64(0)...2 { script.output(of: offset, at: offset) }
        script.commit(3)
        for offset in Int64(3)...4 { script.output(of: offset, at: offset) }
        #expect(script.kinds == [])
        script.commit(4)
        #expect(script.kinds == [.outputWithoutCommit])
        #expect(script.anomalies().first?.position == HistoryScript.at(4))
    }

    @Test func whatIsWrongWithOutputsCanBeLeftOut() {
        var script = transformed()
        script.output(of: 0, at: 0)
        #expect(script.anomalies(.init([.duplicateOutput, .reorderedOutput])) == [])
    }

    @Test func recordsOfOutputsAreReadAsTheyWereWritten() throws {
        var script = transformed()
        script.output(of: 0, at: 3)
        for record in script.records {
            let copy = try JSONDecoder().decode(DeliveryHistory.Record.self, from: JSONEncoder().encode(record))
            #expect(copy == record)
        }
        #expect(script.history.records(of: HistoryScript.at(0)).count == 4)
    }
}

extension HistoryScript {
    fileprivate mutating func transform(_ offset: Int64, attempt: Int = 1, by process: String) {
        let attempt = DeliveryHistory.Attempt(Self.at(offset), generation: 1, attempt: attempt)
        add(.transforming(attempt, value: "\(offset)", key: nil), by: process)
    }

    fileprivate mutating func output(of offset: Int64, at place: Int64, partition: Int = 0) {
        let results = KafkaTopicPartition(topic: "invoices", partition: partition)
        add(.output(of: Self.at(offset), at: .init(results, place), value: "made of \(offset)"))
    }
}
