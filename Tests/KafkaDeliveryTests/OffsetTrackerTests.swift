import KafkaDeliveryTesting
import Testing

@testable import KafkaDelivery

struct OffsetTrackerTests {
    @Test func onlyTheLongestSettledPrefixMayBeCommitted() {
        var tracker = OffsetTracker()
        let sequences = [10, 11, 12, 13].map { tracker.handOut($0) }
        #expect(tracker.settle(sequences[2]) == .settled)
        #expect(tracker.commitTarget == nil)
        #expect(tracker.settle(sequences[0]) == .settled)
        #expect(tracker.commitTarget == 11)
        #expect(tracker.settle(sequences[1]) == .settled)
        #expect(tracker.commitTarget == 13)
        #expect(tracker.unsettledCount == 1)
    }

    @Test func gapsInOffsetsAreNoObstacle() {
        var tracker = OffsetTracker()
        let sequences = [3, 700, 701, 9_000_000_000].map { tracker.handOut($0) }
        for sequence in sequences.reversed() { #expect(tracker.settle(sequence) == .settled) }
        #expect(tracker.commitTarget == 9_000_000_001)
        #expect(tracker.windowCount == 0)
    }

    @Test func aSecondVerdictChangesNothing() {
        var tracker = OffsetTracker()
        let first = tracker.handOut(0)
        let second = tracker.handOut(1)
        #expect(tracker.settle(second) == .settled)
        #expect(tracker.settle(second) == .repeated)
        #expect(tracker.settle(first) == .settled)
        #expect(tracker.settle(first) == .repeated)
        #expect(tracker.settle(second) == .repeated)
        #expect(tracker.unsettledCount == 0)
        #expect(tracker.commitTarget == 2)
    }

    @Test func aVerdictOnSomethingNeverHandedOutChangesNothing() {
        var tracker = OffsetTracker()
        #expect(tracker.settle(5) == .repeated)
        _ = tracker.handOut(0)
        #expect(tracker.settle(1) == .repeated)
        tracker.abandon(7)
        #expect(tracker.unsettledCount == 1)
        #expect(tracker.heldCount == 1)
    }

    @Test func aDeliveryLetGoOfStaysUnsettledAndIsNotWaitedFor() {
        var tracker = OffsetTracker()
        let first = tracker.handOut(0)
        let second = tracker.handOut(1)
        tracker.abandon(first)
        tracker.abandon(first)
        #expect(tracker.heldCount == 1)
        #expect(tracker.settle(second) == .settled)
        #expect(tracker.heldCount == 0)
        #expect(tracker.unsettledCount == 1)
        #expect(tracker.commitTarget == nil)
    }

    @Test func aCommitNeverMovesBackwards() {
        var tracker = OffsetTracker()
        let sequences = (0..<10).map { tracker.handOut($0) }
        for sequence in sequences { _ = tracker.settle(sequence) }
        tracker.didCommit(10, settled: 10)
        tracker.didCommit(4, settled: 4)
        #expect(tracker.committed == 10)
        #expect(tracker.committedSequence == 10)
        #expect(tracker.commitTarget == nil)
    }

    /// What a summary tells of a partition that goes: settled, and not known to the broker.
    @Test func whatIsSettledAndNotCommittedIsCountedAlsoBehindWhatIsUnsettled() {
        var tracker = OffsetTracker()
        let sequences = (0..<6).map { tracker.handOut($0) }
        for sequence in [0, 1, 2, 4] { _ = tracker.settle(sequences[sequence]) }
        #expect(tracker.uncommittedCount == 4)
        #expect(tracker.uncommittedSequences == 6)
        tracker.didCommit(2, settled: 2)
        #expect(tracker.uncommittedCount == 2)
        #expect(tracker.uncommittedSequences == 4)
        tracker.restart()
        #expect(tracker.uncommittedCount == 0)
        #expect(tracker.uncommittedSequences == 0)
    }

    /// Against a model that keeps every offset and its state.
    @Test(arguments: 0..<20)
    func theTrackerAgreesWithAPlainList(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        var tracker = OffsetTracker()
        var model: [(sequence: OffsetTracker.Sequence, offset: Int64, isSettled: Bool)] = []
        var offset: Int64 = 0
        for _ in 0..<2_000 {
            if Bool.random(using: &random) {
                offset += Int64.random(in: 1...5, using: &random)
                model.append((tracker.handOut(offset), offset, false))
            } else if let index = model.indices.randomElement(using: &random) {
                let expected: OffsetTracker.Effect = model[index].isSettled ? .repeated : .settled
                #expect(tracker.settle(model[index].sequence) == expected)
                model[index].isSettled = true
            }
            let prefix = model.prefix { $0.isSettled }
            #expect(tracker.committable == prefix.last.map { $0.offset + 1 })
            #expect(tracker.unsettledCount == model.count { !$0.isSettled })
            #expect(tracker.heldCount == tracker.unsettledCount)
        }
    }

    @Test func afterARestartASmallerOffsetMayBeCommittedAndOldVerdictsChangeNothing() {
        var tracker = OffsetTracker()
        let old = [10, 11, 12].map { tracker.handOut($0) }
        #expect(tracker.settle(old[0]) == .settled)
        tracker.didCommit(11, settled: 1)
        tracker.restart()
        #expect(tracker.heldCount == 0)
        #expect(tracker.unsettledCount == 0)
        #expect(tracker.commitTarget == nil)
        let new = tracker.handOut(3)
        #expect(old.allSatisfy { tracker.isOutdated($0) })
        #expect(!tracker.isOutdated(new))
        #expect(tracker.settle(old[1]) == .repeated)
        #expect(tracker.reject(old[2]) == .repeated)
        tracker.abandon(old[2])
        #expect(tracker.heldCount == 1)
        #expect(tracker.commitTarget == nil)
        #expect(tracker.settle(new) == .settled)
        #expect(tracker.commitTarget == 4)
    }

    @Test func whatATransactionHasIsSettledWithItAndNotBefore() {
        var tracker = OffsetTracker()
        let sequences = (0..<5).map { tracker.handOut(Int64($0) * 10) }
        #expect(tracker.claimTarget == nil)
        _ = tracker.settle(sequences[0])
        for sequence in sequences[1...2] { #expect(tracker.claim(sequence) == .settled) }
        #expect(tracker.claim(sequences[1]) == .repeated)
        #expect(tracker.settle(sequences[1]) == .repeated)
        #expect(tracker.commitTarget == 1)
        #expect(tracker.heldCount == 4)
        // What is settled beside it is part of the prefix too.
        _ = tracker.settle(sequences[3])
        #expect(tracker.claimTarget?.offset == 31)
        #expect(tracker.claimTarget?.isComplete == true)
        tracker.settleClaims(at: 31)
        #expect(tracker.committedSequence == 4)
        #expect(tracker.commitTarget == nil)
        #expect(tracker.heldCount == 1)
        #expect(tracker.unsettledCount == 1)
        _ = tracker.settle(sequences[4])
        #expect(tracker.commitTarget == 41)
    }

    @Test func aTransactionThatWouldSkipSomethingIsNotComplete() {
        var tracker = OffsetTracker()
        let sequences = (0..<3).map { tracker.handOut(Int64($0)) }
        _ = tracker.claim(sequences[0])
        _ = tracker.claim(sequences[2])
        #expect(tracker.claimTarget?.offset == 1)
        #expect(tracker.claimTarget?.isComplete == false)
        tracker.rejectClaims()
        #expect(tracker.heldCount == 1)
        #expect(tracker.unsettledCount == 3)
        for sequence in [sequences[0], sequences[2]] { tracker.handOutAgain(sequence) }
        #expect(tracker.heldCount == 3)
        for sequence in sequences { _ = tracker.settle(sequence) }
        #expect(tracker.commitTarget == 3)
    }
}
