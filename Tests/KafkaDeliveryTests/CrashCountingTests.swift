import Testing

@testable import KafkaDelivery

/// The search for a message that kills the process, as far as it goes through all partitions.
struct CrashCountingTests {
    private final class Partition: ProbedPartition {
        let partition: KafkaTopicPartition
        var needsProbing = true
        var wantsTurn = true
        var hasSuspect = false
        var isProbeStored = false
        var heldCount = 0
        var hasEnded = false

        init(_ number: Int) {
            partition = KafkaTopicPartition(topic: "orders", partition: number)
        }

        func endTurnIfOver() -> Bool { hasEnded }
    }

    private typealias Counting = CrashCounting<Partition>

    private let start = ContinuousClock.now

    private func all(_ partitions: [Partition]) -> [KafkaTopicPartition: Partition] {
        Dictionary(uniqueKeysWithValues: partitions.map { ($0.partition, $0) })
    }

    /// Words for actions, with the partition's number.
    private func words(_ actions: [Counting.Action]) -> [String] {
        actions.map { action in
            switch action {
            case .readNotes(let partitions): "read \(partitions.map(\.partition.partition).sorted())"
            case .setOneAtATime(let isOneAtATime): isOneAtATime ? "one at a time" : "freely"
            case .hold: "hold"
            case .release: "release"
            case .beginTurn(let partition): "begin \(partition.partition.partition)"
            case .grantTurn(let partition): "grant \(partition.partition.partition)"
            case .commit: "commit"
            }
        }
    }

    private func advance(
        _ counting: inout Counting,
        _ partitions: [Partition],
        after milliseconds: Int = 0
    ) -> [String] {
        words(counting.advance(all(partitions), at: start.advanced(by: .milliseconds(milliseconds))))
    }

    private func held(_ counting: inout Counting, _ partitions: [Partition]) -> [String] {
        words(counting.held(all(partitions)))
    }

    @Test func withoutCrashesNothingIsDone() {
        var counting = Counting()
        let partition = Partition(0)
        partition.needsProbing = false
        let steps = advance(&counting, [partition])
        #expect(steps == [])
        #expect(!counting.isOneAtATime)
        #expect(counting.next == nil)
    }

    @Test func aProbeIsCommittedBeforeItsMessageMayBeHandedOutAndNoOtherBeginsBeforeItsEnd() {
        var counting = Counting()
        let partitions = [Partition(0), Partition(1)]
        partitions[1].wantsTurn = false
        var steps = advance(&counting, partitions)
        #expect(steps == ["one at a time", "hold"])
        steps = held(&counting, partitions)
        #expect(steps == ["begin 0", "commit"])
        partitions[0].wantsTurn = false
        partitions[1].wantsTurn = true
        for _ in 1...2 {
            steps = advance(&counting, partitions)
            #expect(steps == ["grant 0"], "the partition hands it out when the broker has the note")
        }
        partitions[0].hasEnded = true
        steps = advance(&counting, partitions)
        #expect(steps == ["release", "commit", "hold"], "what has survived is not blamed for what comes next")
        steps = held(&counting, partitions)
        #expect(steps == ["begin 1", "commit"])
        partitions[1].wantsTurn = false
        partitions[1].hasEnded = true
        steps = advance(&counting, partitions)
        #expect(steps == ["release", "commit"])
        steps = advance(&counting, partitions)
        #expect(steps == [])
    }

    @Test func messagesInHandFromBeforeAreWaitedForAndCanBeHandedOutAgainMeanwhile() {
        var counting = Counting()
        let partitions = [Partition(0), Partition(1)]
        partitions[1].wantsTurn = false
        partitions[1].heldCount = 1
        var steps = advance(&counting, partitions)
        #expect(steps == ["one at a time", "hold"])
        steps = held(&counting, partitions)
        #expect(steps == ["release"])
        partitions[1].heldCount = 0
        steps = advance(&counting, partitions)
        #expect(steps == ["hold"], "it has not lost its turn")
        steps = held(&counting, partitions)
        #expect(steps == ["begin 0", "commit"])
    }

    @Test func aSuspectsPartitionComesFirst() {
        var counting = Counting()
        let partitions = (0..<5).map(Partition.init)
        partitions[3].wantsTurn = false
        // All others have asked, and one of them was put back because a message is in hand.
        partitions[4].heldCount = 1
        _ = advance(&counting, partitions)
        var steps = held(&counting, partitions)
        #expect(steps == ["release"])
        partitions[4].heldCount = 0
        partitions[3].wantsTurn = true
        partitions[3].hasSuspect = true
        steps = advance(&counting, partitions)
        #expect(steps == ["hold"])
        steps = held(&counting, partitions)
        #expect(steps == ["begin 3", "commit"], "it was the last to ask")
    }

    @Test func noMessageIsHandedOutWhileAnotherPartitionsProbeIsNoted() {
        var counting = Counting()
        let partitions = [Partition(0), Partition(1)]
        partitions[1].wantsTurn = false
        _ = advance(&counting, partitions)
        _ = held(&counting, partitions)
        partitions[0].isProbeStored = true
        partitions[1].isProbeStored = true
        var steps = advance(&counting, partitions)
        #expect(steps == [], "both would be blamed")
        partitions[1].isProbeStored = false
        steps = advance(&counting, partitions)
        #expect(steps == ["grant 0"])
    }

    @Test func aPartitionThatIsRevokedDuringItsTurnDoesNotHoldUpOthers() {
        var counting = Counting()
        let partitions = [Partition(0), Partition(1)]
        partitions[1].wantsTurn = false
        _ = advance(&counting, partitions)
        _ = held(&counting, partitions)
        counting.ended(partitions[0].partition)
        // What the other one has to hand out again is held back no longer, whether it wants a turn or not.
        var steps = advance(&counting, [partitions[1]])
        #expect(steps == ["release", "commit"])
        partitions[1].wantsTurn = true
        steps = advance(&counting, [partitions[1]])
        #expect(steps == ["hold"])
    }

    @Test func aPartitionThatIsRevokedDuringItsTurnLeavesTheTurnToTheNext() {
        var counting = Counting()
        let partitions = [Partition(0), Partition(1)]
        partitions[1].wantsTurn = false
        _ = advance(&counting, partitions)
        _ = held(&counting, partitions)
        counting.ended(partitions[0].partition)
        partitions[1].wantsTurn = true
        let steps = advance(&counting, [partitions[1]])
        #expect(steps == ["release", "commit", "hold"])
    }

    @Test func messagesAreHandedOutFreelyWhenNoPartitionNeedsProbing() {
        var counting = Counting()
        let partition = Partition(0)
        _ = advance(&counting, [partition])
        partition.needsProbing = false
        var steps = advance(&counting, [partition])
        #expect(steps == ["freely", "commit"])
        steps = advance(&counting, [partition])
        #expect(steps == [])
    }

    @Test func committedOffsetsThatCouldNotBeReadAreAskedForAgainWhereThePartitionIsStillOurs() {
        var counting = Counting()
        let partitions = (0..<3).map(Partition.init)
        for partition in partitions { partition.needsProbing = false }
        counting.notRead(partitions, at: start)
        #expect(counting.next == start.advanced(by: Counting.readInterval))
        var steps = advance(&counting, partitions, after: 499)
        #expect(steps == [])
        steps = advance(&counting, [partitions[0], Partition(1), partitions[2]], after: 500)
        #expect(steps.first == "read [0, 2]", "the second began a new generation")
        #expect(counting.next == nil)
    }

    @Test func whatThisProcessCommittedSaysNothingOfCrashes() {
        var counting = Counting()
        let partition = KafkaTopicPartition(topic: "orders", partition: 0)
        let note = PartitionOffset(partition: partition, offset: 5, metadata: CrashRecord(crashes: 1).metadata)
        #expect(!counting.isOwn(note))
        counting.committing([note])
        #expect(counting.isOwn(note))
        #expect(!counting.isOwn(PartitionOffset(partition: partition, offset: 6, metadata: note.metadata)))
        #expect(!counting.isOwn(PartitionOffset(partition: partition, offset: 5, metadata: [])))
    }
}
