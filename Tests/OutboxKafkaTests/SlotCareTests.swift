import Testing

@testable import OutboxKafka

/// How a slot goes on after a batch that was refused.
struct SlotCareTests {
    @Test func afterABatchThatWasRefusedAsAWholeRecordsAreSentOneAfterTheOtherOnce() {
        var care = KafkaSlotCare()
        #expect(!care.isOneByOne && care.maximumCount == nil && care.isUsual)
        care.note(.refusedTogether, of: 7)
        #expect(care.isOneByOne && care.maximumCount == 128 && care.notStored == 7)
        care.note(.stored, of: 8)
        #expect(!care.isOneByOne && care.maximumCount == nil && care.notStored == nil)
    }

    @Test func whereTogetherFailsAgainTheRunsGetLongerAndNeverTooLong() {
        var care = KafkaSlotCare()
        var runs: [Int] = []
        for number in 1...9 {
            care.note(.refusedTogether, of: Int64(number))
            runs.append(care.left)
            while care.isOneByOne { care.note(.stored, of: 100) }
        }
        #expect(runs == [1, 2, 4, 8, 16, 32, 64, 64, 64])
        // And shorter again where it works.
        for _ in 0..<7 { care.note(.stored, of: 100) }
        #expect(care.isUsual)
    }

    @Test func whatTakesTooLongIsHalvedDownToOneRecordAndGrowsAgain() {
        var care = KafkaSlotCare()
        var limits: [Int?] = []
        for number in 1...9 {
            care.note(.tookTooLong, of: Int64(number))
            limits.append(care.maximumCount)
        }
        #expect(limits == [128, 64, 32, 16, 8, 4, 2, 1, 1])
        care.note(.stored, of: 100)
        #expect(care.maximumCount == 2)
    }

    @Test func whatComesBeforeTheCulpritGoesFirst() {
        var care = KafkaSlotCare()
        care.note(.refusedTogether, of: 1)
        care.note(.culprit(at: 5), of: 2)
        #expect(care.isOneByOne && care.maximumCount == 5 && care.notStored == 2)
        care.note(.stored, of: 3)
        care = KafkaSlotCare()
        care.note(.refusedTogether, of: 1)
        care.note(.culprit(at: 0), of: 2)
        #expect(care.maximumCount == 1)
    }

    @Test func onlyTheLastBatchThatWasNotStoredIsKnown() {
        var care = KafkaSlotCare()
        care.note(.failed, of: 1)
        #expect(care.notStored == 1 && !care.isOneByOne)
        care.note(.culprit(at: 3), of: 2)
        #expect(care.notStored == 2 && !care.isOneByOne)
    }
}
