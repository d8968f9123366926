import KafkaDeliveryTesting
import Testing

@testable import KafkaDelivery

/// What a redrive remembers in a commit.
struct RedriveRecordTests {
    @Test(arguments: 0..<20)
    func whatWasRedrivenIsRememberedAndNothingElse(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let base = Int64.random(in: 0...1_000_000_000, using: &random)
        var record = RedriveRecord(base: base)
        var model: Set<Int64> = []
        for _ in 0..<200 {
            let lower = base + Int64.random(in: -3..<300, using: &random)
            let range = lower..<lower + Int64.random(in: 0...4, using: &random)
            record.insert(range)
            model.formUnion(range.filter { $0 >= base })
            let firstLeft = (base..<base + 400).first { !model.contains($0) }
            #expect(record.base == firstLeft, "the commit goes up to the first that is left, and not beyond")
        }
        for offset in base..<base + 310 { #expect(record.contains(offset) == model.contains(offset)) }
        #expect(record.contains(base - 1))
        let read = RedriveRecord(base: record.base, metadata: Array(record.metadata.utf8))
        #expect(read == record)
    }

    @Test func everythingRedrivenNeedsNoMetadata() {
        var record = RedriveRecord(base: 5)
        record.insert(6..<7)
        #expect(record.base == 5)
        #expect(!record.metadata.isEmpty)
        record.insert(5..<6)
        #expect(record.base == 7)
        #expect(record.metadata.isEmpty)
    }

    @Test func whatIsNoLongerInTheTopicIsForgotten() {
        var record = RedriveRecord(base: 0)
        record.insert(10..<20)
        record.insert(30..<40)
        record.forget(before: 15)
        #expect(record.base == 20)
        record.forget(before: 25)
        #expect(record.base == 25)
        #expect(record.stretches == [30..<40])
        record.forget(before: 3)
        #expect(record.base == 25)
    }

    @Test func twoThousandStretchesFitIntoACommitAndWhatDoesNotFitIsLetGoFromTheEnd() {
        var record = RedriveRecord(base: 0)
        for number in 0..<1_990 { record.insert(Int64(number * 20 + 10)..<Int64(number * 20 + 20)) }
        #expect(record.fits)
        for number in 1_990..<3_000 { record.insert(Int64(number * 20 + 10)..<Int64(number * 20 + 20)) }
        #expect(!record.fits)
        let fitting = record.fitting
        #expect(fitting.metadata.utf8.count <= RedriveRecord.maximumMetadataBytes)
        #expect(fitting.stretches == Array(record.stretches.prefix(fitting.stretches.count)))
    }

    @Test(
        arguments: [
            "x", "redriven-2:BB", "redriven-1:B", "redriven-1:BA", "redriven-1:AB", "redriven-1:B!", "redriven-1:BBB",
            "redriven-1:Bg", "redriven-1:B//////////////////B",
        ]
    )
    func metadataThatIsNotARedrivesIsNotTakenForOne(metadata: String) {
        #expect(RedriveRecord(base: 3, metadata: Array(metadata.utf8)) == nil)
    }

    @Test func aLengthThatLeavesTheRangeOfOffsetsIsRefused() {
        var record = RedriveRecord(base: 0)
        record.insert(Int64.max - 1 ..< .max)
        let metadata = Array(record.metadata.utf8)
        #expect(RedriveRecord(base: 10, metadata: metadata) == nil)
    }
}
