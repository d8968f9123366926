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

    // MARK: Seeks that are tried again

    @Test func seeksThatFailedAreTriedAgainWhenTheyAreDue() {
        var seeks = PostponedSeeks<Partition>()
        let partitions = (0..<3).map { _ in Partition() }
        func brought(at milliseconds: Int) -> [[ObjectIdentifier]] {
            seeks.advance(at: later(milliseconds)).map { action in
                switch action {
                case .bring(let partitions, _): partitions.map { ObjectIdentifier($0) }
                }
            }
        }
        #expect(seeks.next == nil)
        seeks.add([partitions[0]], to: .end, due: later(20))
        seeks.add([partitions[1], partitions[2]], to: .beginning, due: later(10))
        #expect(seeks.next == later(10))
        expect(brought(at: 9), [])
        expect(brought(at: 10), [[partitions[1], partitions[2]].map { ObjectIdentifier($0) }])
        #expect(seeks.next == later(20))
        expect(brought(at: 20), [[ObjectIdentifier(partitions[0])]])
        expect(brought(at: 30), [])
    }

    // MARK: Named partitions that do not exist

    @Test func namedPartitionsThatDoNotExistAreToldOnceAndLookedForUntilTheyDo() {
        let named = (0..<3).map { KafkaTopicPartition(topic: "orders", partition: $0) }
        var missing = MissingPartitions(named: named, interval: .milliseconds(100))
        expect(missing.advance(at: start), [], "nothing is read yet")
        missing.begin(at: start)
        expect(missing.advance(at: start), [.search(Set(named))])
        #expect(missing.next == nil, "one search at a time")
        expect(missing.found([named[1], named[2]], at: later(10)), [.report(named[1]), .report(named[2])])
        #expect(missing.next == later(110))
        expect(missing.advance(at: later(110)), [.search([named[1], named[2]])])
        expect(missing.found([named[2]], at: later(120)), [], "it was told")
        expect(missing.advance(at: later(220)), [.search([named[2]])])
        missing.couldNotSearch(at: later(230))
        expect(missing.advance(at: later(330)), [.search([named[2]])], "no broker said anything")
        expect(missing.found([], at: later(340)), [])
        #expect(missing.next == nil)
    }
}
