import KafkaDelivery
import Testing

@testable import kafka_delivery

@Suite struct ProgressTests {
    private let progress = Progress(bytesRead: 500, bytesInAll: 1000, confirmed: 12_345, failed: 6)

    @Test(arguments: [0, 1, 10, 20, 40, 60, 80, 200])
    func theStatusLineFitsTheTerminal(columns: Int) {
        #expect(progress.line(after: .seconds(75), rate: 1234.5, columns: columns).count <= max(columns - 1, 0))
    }

    @Test func aBarIsShownWhereTheEndIsKnown() {
        let line = progress.line(after: .seconds(75), rate: 1234.5, columns: 100)
        #expect(line == " 50% ━━━━━━━━━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  12,345 confirmed  6 failed  1,234/s  1:15")
        var endless = progress
        endless.bytesInAll = nil
        #expect(endless.line(after: .zero, rate: 0, columns: 100) == "12,345 confirmed  6 failed  0/s  0:00")
    }

    @Test func aFileThatGrewIsNotMoreThanWhole() {
        let progress = Progress(bytesRead: 5000, bytesInAll: 1000)
        #expect(progress.line(after: .zero, rate: 0, columns: 100).hasPrefix("100% "))
        #expect(!Progress(bytesRead: 0, bytesInAll: 0).line(after: .zero, rate: 0, columns: 100).contains("%"))
    }

    @Test func failuresAreCountedByKindMostFrequentFirst() {
        var tally = SendTally()
        let place = InputPlace(input: "f", line: 3)
        let isFirst = [
            tally.add(.line(.notJSON), at: place),
            tally.add(.line(.fieldMissing), at: InputPlace(input: "f", line: 1234)),
            tally.add(.line(.fieldMissing), at: InputPlace(input: "g", line: nil)),
        ]
        #expect(isFirst == [true, true, false])
        #expect(tally.failed == 3)
        #expect(tally.lines.count == 2)
        #expect(tally.lines[0].hasPrefix("  2 × it has no such field"))
        #expect(tally.lines[0].hasSuffix("first at line 1,234 of f"))
    }

    @Test func manyKindsOfFailureAreCountedInBoundedSpace() {
        var tally = SendTally()
        for number in 0..<1000 { _ = tally.add(.file("reason \(number)"), at: InputPlace(input: "f", line: nil)) }
        #expect(tally.failed == 1000)
        #expect(tally.lines.count == 17)
        #expect(tally.lines[0].hasPrefix("  984 × other failures"))
    }

    @Test func numbersAreWrittenForPeople() {
        #expect(1_234_567.grouped == "1,234,567")
        #expect((-1234).grouped == "-1,234")
        #expect(999.grouped == "999")
        #expect(Int.min.grouped == "-9,223,372,036,854,775,808")
        #expect(Duration.microseconds(420).short == "0.42 ms")
        #expect(Duration.milliseconds(12).short == "12 ms")
        #expect(Duration.milliseconds(3140).short == "3.1 s")
        #expect((-0.5).rounded(digits: 1) == "-0.5")
        #expect(7.05.rounded(digits: 1) == "7.0" || 7.05.rounded(digits: 1) == "7.1")
    }

    @Test func percentilesAreValuesThatOccurred() {
        let times = Percentiles((1...100).shuffled().map { .milliseconds($0) })
        #expect(times[50] == .milliseconds(50))
        #expect(times[99] == .milliseconds(99))
        #expect(times[0] == .milliseconds(1))
        #expect(Percentiles([])[50] == nil)
        #expect(Percentiles([.seconds(1)])[99] == .seconds(1))
    }
}

@Suite struct EndTrackerTests {
    private let first = KafkaTopicPartition(topic: "t", partition: 0)
    private let second = KafkaTopicPartition(topic: "t", partition: 1)

    @Test func theEndIsReachedWhenEveryPartitionIsAtItsEnd() {
        var tracker = EndTracker()
        #expect(tracker.finished == nil)
        tracker.assign([first, second], generation: 1)
        tracker.reachEnd(of: first, generation: 1)
        #expect(tracker.finished == nil)
        tracker.reachEnd(of: second, generation: 1)
        #expect(tracker.finished == [first, second])
    }

    @Test func anEndThatIsHeardOfBeforeTheAssignmentCounts() {
        var tracker = EndTracker()
        tracker.reachEnd(of: first, generation: 1)
        tracker.assign([first], generation: 1)
        #expect(tracker.finished == [first])
    }

    @Test func anEndOfAnEarlierGenerationDoesNotCount() {
        var tracker = EndTracker()
        tracker.assign([first], generation: 1)
        tracker.revoke([first])
        tracker.assign([first], generation: 2)
        tracker.reachEnd(of: first, generation: 1)
        #expect(tracker.finished == nil)
    }

    /// What it does not have others have, and whether that is read is another question.
    @Test func aMemberWithoutPartitionsHasReadAllOfThemOnceTheGroupGaveItNone() {
        var tracker = EndTracker()
        #expect(tracker.finished == nil)
        tracker.assign([], generation: 1)
        #expect(tracker.finished == [])
        tracker.assign([first], generation: 2)
        #expect(tracker.finished == nil)
        tracker.revoke([first])
        #expect(tracker.finished == [])
    }
}
