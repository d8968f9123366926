import Testing

@testable import DeliveryCore

/// Which deliveries run, and which wait behind another of their key.
struct KeyLanesTests {
    typealias Owner = TestSource
    typealias Delivery = TestDelivery

    private let owner = Owner()

    private func key(_ name: String) -> LaneKey<String> { .key(ObjectIdentifier(owner), name) }

    private func delivery(_ sequence: DeliverySequence, _ owner: Owner? = nil) -> Delivery {
        Delivery(owner ?? self.owner, sequence)
    }

    /// What runs next, by its number.
    private func number(_ resumption: KeyLanes<Delivery>.Resumption) -> DeliverySequence? {
        if case .run(let next) = resumption { next.deliverySequence } else { nil }
    }

    private func isFull(_ resumption: KeyLanes<Delivery>.Resumption) -> Bool {
        if case .full = resumption { true } else { false }
    }

    private func isIdle(_ resumption: KeyLanes<Delivery>.Resumption) -> Bool {
        if case .idle = resumption { true } else { false }
    }

    @Test func oneOfAKeyRunsAtATimeInOrderAndSoManyKeys() {
        var lanes = KeyLanes<Delivery>(maximum: 2)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.offer(delivery(1), key("a")) == .queued)
        #expect(lanes.offer(delivery(2), key("b")) == .run)
        #expect(lanes.offer(delivery(3), key("c")) == .full)
        #expect(lanes.offer(delivery(4), key("a")) == .queued)
        #expect((lanes.runningCount, lanes.waitingCount) == (2, 2))
        #expect(lanes.finished(key("a"))?.deliverySequence == 1)
        #expect(lanes.offer(delivery(3), key("c")) == .full)
        #expect(lanes.finished(key("b")) == nil)
        #expect(lanes.offer(delivery(3), key("c")) == .run)
        #expect(lanes.finished(key("a"))?.deliverySequence == 4)
        #expect(lanes.finished(key("a")) == nil)
        #expect(lanes.finished(key("c")) == nil)
        #expect((lanes.runningCount, lanes.waitingCount, lanes.laneCount) == (0, 0, 0))
    }

    @Test(arguments: [Int.min, -1, 0, 1, .max])
    func anyMaximumIsTakenAndLessThanOneCountsAsOne(maximum: Int) {
        var lanes = KeyLanes<Delivery>(maximum: maximum)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.offer(delivery(1), key("a")) == .queued)
        #expect(lanes.offer(delivery(2), key("b")) == (maximum > 1 ? .run : .full))
    }

    @Test func readingStopsWhereSixteenWaitForEachPlaceUnlessALaneWaitsForWhatComesBehindThem() {
        var lanes = KeyLanes<Delivery>(maximum: 2)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.offer(delivery(100), key("b")) == .run)
        for number in 1...32 { #expect(lanes.offer(delivery(UInt64(number)), key("a")) == .queued) }
        #expect(lanes.offer(delivery(33), key("a")) == .full)
        // What ends a back-off is read behind them.
        #expect(lanes.backsOff(key("b"), 100) == nil)
        #expect(lanes.offer(delivery(33), key("a")) == .queued)
        #expect(lanes.offer(delivery(100), key("b")) == .run)
        #expect(lanes.offer(delivery(34), key("a")) == .full)
        #expect(lanes.park(key("b")) == true)
        #expect(lanes.offer(delivery(34), key("a")) == .queued)
    }

    @Test func whatBacksOffComesBeforeWhatWaitsAndOccupiesNoPlaceMeanwhile() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.offer(delivery(1), key("a")) == .queued)
        #expect(lanes.backsOff(key("a"), 0) == nil)
        #expect(lanes.offer(delivery(2), key("a")) == .queued, "it is not its turn")
        #expect(lanes.offer(delivery(3), key("b")) == .run)
        #expect(lanes.offer(delivery(0), key("a")) == .full)
        #expect(lanes.finished(key("b")) == nil)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.finished(key("a"))?.deliverySequence == 1)
        #expect(lanes.finished(key("a"))?.deliverySequence == 2)
        #expect(lanes.finished(key("a")) == nil)
        #expect(lanes.laneCount == 0)
    }

    @Test func whatIsHandedOutAgainBeforeItIsSaidThatItBacksOffRunsNext() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.offer(delivery(1), key("a")) == .queued)
        #expect(lanes.offer(delivery(0), key("a")) == .queued)
        #expect(lanes.backsOff(key("a"), 0)?.deliverySequence == 0)
        #expect((lanes.runningCount, lanes.waitingCount) == (1, 1))
        #expect(lanes.finished(key("a"))?.deliverySequence == 1)
        #expect(lanes.finished(key("a")) == nil)
    }

    @Test func aParkedLaneHoldsItsKeyAndNoPlaceAndWaitsForOneAfterwards() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.offer(delivery(1), key("a")) == .queued)
        #expect(lanes.park(key("a")) == true)
        #expect(lanes.offer(delivery(2), key("a")) == .queued)
        #expect(lanes.offer(delivery(3), key("b")) == .run)
        #expect(isFull(lanes.unpark(key("a"), backingOff: nil)))
        #expect(isFull(lanes.resume(key("a"))))
        #expect(lanes.offer(delivery(4), key("a")) == .queued, "while it waits for a place")
        #expect(lanes.finished(key("b")) == nil)
        #expect(number(lanes.resume(key("a"))) == 1)
        #expect(lanes.finished(key("a"))?.deliverySequence == 2)
        #expect(lanes.finished(key("a"))?.deliverySequence == 4)
        #expect(lanes.finished(key("a")) == nil)
        #expect((lanes.runningCount, lanes.waitingCount, lanes.laneCount) == (0, 0, 0))
    }

    @Test func noMoreLanesAreParkedThanMayWaitAndALaneThatIsNotKeepsItsPlace() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        for number in UInt64(0)..<16 {
            #expect(lanes.offer(delivery(number), key(String("\(number)"))) == .run)
            #expect(lanes.park(key(String("\(number)"))) == true)
        }
        #expect(lanes.offer(delivery(16), key("a")) == .run)
        #expect(lanes.park(key("a")) == false)
        #expect(lanes.offer(delivery(17), key("b")) == .full)
        #expect(lanes.finished(key("a")) == nil)
        #expect(lanes.offer(delivery(17), key("b")) == .run)
    }

    @Test func aParkedLaneWhoseDeliveryIsHandedOverNeedsAPlaceForThat() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.offer(delivery(1), key("a")) == .queued)
        #expect(lanes.park(key("a")) == true)
        #expect(lanes.offer(delivery(2), key("b")) == .run)
        #expect(lanes.enter(key("a")) == false)
        #expect(lanes.finished(key("b")) == nil)
        #expect(lanes.enter(key("a")) == true)
        #expect(lanes.offer(delivery(3), key("c")) == .full)
        #expect(lanes.finished(key("a"))?.deliverySequence == 1)
        #expect(lanes.finished(key("a")) == nil)
        #expect((lanes.runningCount, lanes.waitingCount, lanes.laneCount) == (0, 0, 0))
    }

    @Test func aParkedLaneBehindWhichNothingWaitsIsGoneAfterwardsThoughThereIsNoPlace() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.park(key("a")) == true)
        #expect(lanes.offer(delivery(1), key("b")) == .run)
        #expect(isIdle(lanes.unpark(key("a"), backingOff: nil)))
        #expect(lanes.laneCount == 1)
    }

    @Test func ofTwoLanesThatWaitForAPlaceEachGetsOne() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        for (first, name) in [(0, "a"), (10, "b")] as [(UInt64, String)] {
            #expect(lanes.offer(delivery(first), key(name)) == .run)
            #expect(lanes.offer(delivery(first + 1), key(name)) == .queued)
            #expect(lanes.park(key(name)) == true)
        }
        #expect(lanes.offer(delivery(20), key("c")) == .run)
        #expect(isFull(lanes.unpark(key("a"), backingOff: nil)))
        #expect(isFull(lanes.unpark(key("b"), backingOff: nil)))
        #expect(lanes.finished(key("c")) == nil)
        #expect(number(lanes.resume(key("a"))) == 1)
        #expect(isFull(lanes.resume(key("b"))))
        #expect(lanes.finished(key("a")) == nil)
        #expect(number(lanes.resume(key("b"))) == 11)
        #expect(lanes.finished(key("b")) == nil)
        #expect((lanes.runningCount, lanes.waitingCount, lanes.laneCount) == (0, 0, 0))
    }

    @Test func whatWasParkedAndIsHandedOutAgainComesFirstHoweverEarlyThatIs() {
        var lanes = KeyLanes<Delivery>(maximum: 1)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.park(key("a")) == true)
        #expect(lanes.offer(delivery(1), key("a")) == .queued)
        // Handed out again before the lane is told.
        #expect(lanes.offer(delivery(0), key("a")) == .queued)
        #expect(number(lanes.unpark(key("a"), backingOff: 0)) == 0)
        #expect(lanes.park(key("a")) == true)
        // And after.
        #expect(isIdle(lanes.unpark(key("a"), backingOff: 0)))
        #expect(lanes.offer(delivery(2), key("a")) == .queued)
        #expect(lanes.offer(delivery(0), key("a")) == .run)
        #expect(lanes.finished(key("a"))?.deliverySequence == 1)
        #expect(lanes.finished(key("a"))?.deliverySequence == 2)
        #expect(lanes.finished(key("a")) == nil)
        #expect((lanes.runningCount, lanes.waitingCount, lanes.laneCount) == (0, 0, 0))
    }

    @Test func whatBackedOffInAPartitionThatIsGoneIsLetGoAndAParkedLaneIsNot() {
        let gone = Owner(isEnded: true)
        func key(_ name: String) -> LaneKey<String> { .key(ObjectIdentifier(gone), name) }
        var lanes = KeyLanes<Delivery>(maximum: 1)
        #expect(lanes.offer(delivery(0, gone), key("a")) == .run)
        #expect(lanes.offer(delivery(1, gone), key("a")) == .queued)
        #expect(lanes.backsOff(key("a"), 0) == nil)
        #expect(lanes.offer(delivery(2, gone), key("b")) == .run)
        #expect(lanes.offer(delivery(3, gone), key("b")) == .queued)
        #expect(lanes.park(key("b")) == true)
        lanes.removeEnded()
        #expect((lanes.laneCount, lanes.waitingCount) == (1, 1), "the parked one ends by itself")
        #expect(number(lanes.unpark(key("b"), backingOff: nil)) == 3)
        #expect(lanes.finished(key("b")) == nil)
        #expect((lanes.runningCount, lanes.waitingCount, lanes.laneCount) == (0, 0, 0))
        // Nothing of it is counted any more: reading stops at its bound.
        #expect(lanes.offer(delivery(4), self.key("c")) == .run)
        for number in 5...20 { #expect(lanes.offer(delivery(UInt64(number)), self.key("c")) == .queued) }
        #expect(lanes.offer(delivery(21), self.key("c")) == .full)
    }
}
