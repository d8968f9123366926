import KafkaDelivery
import Testing
import ToolSupport

@testable import kafka_delivery

@Suite struct SendTallyTests {
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
}
