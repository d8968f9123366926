import Testing

@testable import KafkaDelivery

/// Giving partitions back in a rebalance: what is waited for, and for how long.
struct RevocationTests {
    private final class Partition {
        let number: Int
        var heldCount = 0
        var isCommitted = true

        init(_ number: Int = 0) {
            self.number = number
        }
    }

    private enum Step: Equatable {
        case commit
        /// The partitions that were read, by number.
        case giveBack([Int])
    }

    private let start = ContinuousClock.now
    private let limit = Duration.seconds(10)
    private let offsets = [PartitionOffset(partition: .init(topic: "orders", partition: 0), offset: 7)]

    private func later(_ seconds: Int) -> ContinuousClock.Instant {
        start.advanced(by: .seconds(seconds))
    }

    private func revocation(_ partitions: [Partition]) -> Revocation<Partition> {
        var revocation = Revocation<Partition>(limit: limit)
        revocation.begin(offsets, of: partitions, at: start)
        return revocation
    }

    private func step(
        _ revocation: inout Revocation<Partition>,
        after seconds: Int = 0,
        isOver: Bool = false,
        leavesInstead: Bool = false
    ) -> [Step] {
        let actions = revocation.advance(
            at: later(seconds),
            isOver: isOver,
            isDrained: { $0.heldCount == 0 },
            isCommitted: { $0.allSatisfy(\.isCommitted) },
            leavesInstead: leavesInstead
        )
        return actions.map { action in
            switch action {
            case .commit: return .commit
            case .giveBack(let given, let readers):
                #expect(given.map(\.offset) == [7], "with what librdkafka has asked for")
                return .giveBack(readers.map(\.number))
            }
        }
    }

    @Test func nothingIsGivenBackThatWasNotRevoked() {
        var revocation = Revocation<Partition>(limit: limit)
        #expect(!revocation.isUnderWay)
        #expect(revocation.next == nil)
        let steps = step(&revocation, isOver: true)
        #expect(steps == [])
    }

    @Test func aRevokedPartitionIsGivenBackWhenWhatIsInHandIsSettledAndCommitted() {
        let partitions = [Partition(0), Partition(1)]
        partitions[1].heldCount = 1
        var revocation = revocation(partitions)
        #expect(revocation.next == later(10))
        var steps = step(&revocation, after: 1)
        #expect(steps == [], "a handler runs")
        partitions[1].heldCount = 0
        partitions[1].isCommitted = false
        steps = step(&revocation, after: 2)
        #expect(steps == [.commit])
        #expect(revocation.next == later(12), "the commit has as long")
        steps = step(&revocation, after: 3)
        #expect(steps == [], "the commit is not answered")
        partitions[1].isCommitted = true
        steps = step(&revocation, after: 4)
        #expect(steps == [.giveBack([0, 1])])
        #expect(!revocation.isUnderWay)
        #expect(revocation.next == nil)
    }

    @Test func aRevocationTimeoutEndsTheWaitForHandlersAndForTheCommit() {
        let partition = Partition()
        partition.heldCount = 1
        partition.isCommitted = false
        var revocation = revocation([partition])
        var steps = step(&revocation, after: 9)
        #expect(steps == [])
        steps = step(&revocation, after: 10)
        #expect(steps == [.commit])
        steps = step(&revocation, after: 19)
        #expect(steps == [])
        steps = step(&revocation, after: 20)
        #expect(steps == [.giveBack([0])])
    }

    @Test func lostPartitionsAreGivenBackAtOnceAndNothingIsCommitted() {
        let partition = Partition()
        partition.heldCount = 1
        partition.isCommitted = false
        var revocation = revocation([partition])
        let steps = step(&revocation, isOver: true)
        #expect(steps == [.giveBack([0])])
    }

    @Test func aMemberThatClosesTakesItsLeaveWithWhatIsRevokedInsteadOfJoiningAgain() {
        var revocation = revocation([Partition()])
        var steps = step(&revocation, leavesInstead: true)
        #expect(steps == [.commit])
        steps = step(&revocation, after: 30, leavesInstead: true)
        #expect(steps == [], "not even when the time is over")
        steps = step(&revocation, after: 30, isOver: true, leavesInstead: true)
        #expect(steps == [.giveBack([0])], "the group is being left")
    }

    @Test func aRevocationThatWaitsForTheMembersLeaveAloneIsWokenByNoClock() {
        let partition = Partition()
        var revocation = revocation([partition])
        _ = step(&revocation, leavesInstead: true)
        partition.isCommitted = false
        var steps = step(&revocation, after: 5, leavesInstead: true)
        #expect(steps == [])
        #expect(revocation.next == later(10), "the commit is waited for until then")
        steps = step(&revocation, after: 10, leavesInstead: true)
        #expect(steps == [])
        #expect(revocation.next == nil, "a moment that has passed would keep the thread busy")
        steps = step(&revocation, after: 11)
        #expect(steps == [.giveBack([0])], "it does not leave after all")
        #expect(!revocation.isUnderWay)
    }
}
