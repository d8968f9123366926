import Testing

@testable import KafkaDelivery

/// What the consumer's thread decides, without it.
struct ConsumerDutiesTests {
    final class Partition {}

    private let start = ContinuousClock.now

    private func later(_ milliseconds: Int) -> ContinuousClock.Instant {
        start.advanced(by: .milliseconds(milliseconds))
    }

    /// What a value answers that the question changes.
    private func expect<Answer: Equatable>(
        _ answer: Answer,
        _ expected: Answer,
        _ comment: Comment? = nil,
        at location: SourceLocation = #_sourceLocation
    ) {
        #expect(answer == expected, comment, sourceLocation: location)
    }

    // MARK: Back-off

    private func offered(_ actions: [BackedOffPartitions<Partition>.Action]) -> [ObjectIdentifier] {
        actions.map { action in
            switch action {
            case .offer(let partition): ObjectIdentifier(partition)
            }
        }
    }

    @Test func partitionsThatBackOffAreOfferedWhenTheyAreDueSoonestFirst() {
        var waiting = BackedOffPartitions<Partition>()
        let partitions = (0..<3).map { _ in Partition() }
        #expect(waiting.next == nil)
        waiting.add(partitions[0], due: later(20))
        waiting.add(partitions[1], due: later(10))
        waiting.add(partitions[2], due: later(10))
        #expect(waiting.next == later(10))
        expect(offered(waiting.advance(at: later(9))), [])
        expect(offered(waiting.advance(at: later(10))), [1, 2].map { ObjectIdentifier(partitions[$0]) })
        #expect(waiting.next == later(20))
        expect(offered(waiting.advance(at: later(30))), [ObjectIdentifier(partitions[0])])
        #expect(waiting.next == nil)
    }

    @Test func aPartitionThatWentIsNotOffered() {
        var waiting = BackedOffPartitions<Partition>()
        let partitions = (0..<2).map { _ in Partition() }
        for partition in partitions { waiting.add(partition, due: start) }
        waiting.remove([ObjectIdentifier(partitions[0])])
        expect(offered(waiting.advance(at: start)), [ObjectIdentifier(partitions[1])])
    }

    // MARK: Leaving the group for a stuck handler

    @Test func aStuckHandlerMakesTheMemberLeaveOnceAndJoinAgainWhenNothingIsStuck() {
        var leave = GroupLeave<Partition>()
        let partitions = (0..<2).map { _ in Partition() }
        expect(leave.advance(mayLeave: true, isOut: true, isStuck: { _ in false }), nil)
        expect(leave.noteStuck([partitions[0]]), true)
        #expect(leave.isUnderWay)
        expect(leave.advance(mayLeave: false, isOut: false, isStuck: { _ in true }), nil, "the group would not hear")
        expect(leave.advance(mayLeave: true, isOut: false, isStuck: { _ in true }), .leave)
        expect(leave.noteStuck([partitions[1]]), false)
        expect(leave.advance(mayLeave: true, isOut: false, isStuck: { _ in false }), nil, "partitions are still ours")
        expect(leave.advance(mayLeave: true, isOut: true, isStuck: { $0 === partitions[1] }), nil)
        expect(leave.advance(mayLeave: true, isOut: true, isStuck: { _ in false }), .rejoin)
        #expect(!leave.isUnderWay)
        expect(leave.noteStuck([partitions[0]]), true, "and again")
    }
}
