import Testing

@testable import KafkaDelivery

struct StuckHandlerClockTests {
    private let start = ContinuousClock.now

    private func after(_ milliseconds: Int) -> ContinuousClock.Instant {
        start.advanced(by: .milliseconds(milliseconds))
    }

    @Test func whatIsHandedOutIsLateNotBeforeItsTimeAndAtMostTwoPulsesAfter() {
        var watch = StuckHandlerClock(limit: .milliseconds(400), start: start)
        #expect(watch.interval == .milliseconds(100))
        var stamps: [Int: StuckHandlerClock.Stamp] = [:]
        var found: [Int: Int] = [:]
        for time in stride(from: 0, through: 2_000, by: 100) {
            let stamp = watch.pulse(at: after(time))
            for handedOut in stride(from: time, to: time + 100, by: 10) { stamps[handedOut] = stamp }
            guard let late = watch.lateStamp(at: after(time)) else { continue }
            for (handedOut, stamp) in stamps where StuckHandlerClock.isBefore(stamp, late) && found[handedOut] == nil {
                found[handedOut] = time
            }
        }
        #expect(found.count >= 150)
        for (handedOut, time) in found {
            #expect(time - handedOut >= 400)
            #expect(time - handedOut <= 600)
        }
    }

    /// A thread that was held up moves the clock on late; nothing is called late for that.
    @Test func aClockThatStoodStillCallsNothingLateTooEarly() {
        var watch = StuckHandlerClock(limit: .milliseconds(400), start: start)
        let stamp = watch.pulse(at: after(0))
        // Handed out just before this, with the old stamp.
        _ = watch.pulse(at: after(5_000))
        #expect(watch.lateStamp(at: after(5_000)).map { StuckHandlerClock.isBefore(stamp, $0) } == false)
        _ = watch.pulse(at: after(5_400))
        #expect(watch.lateStamp(at: after(5_400)).map { StuckHandlerClock.isBefore(stamp, $0) } == true)
    }

    @Test func stampsGoOnWhereTheyWrap() {
        let almost = StuckHandlerClock.Stamp.max - 5
        #expect(StuckHandlerClock.isBefore(almost, almost &+ 20))
        #expect(!StuckHandlerClock.isBefore(almost &+ 20, almost))
        var watch = StuckHandlerClock(limit: .seconds(1), start: start)
        // 49 days and 17 hours.
        let late = start.advanced(by: .milliseconds(Int64(StuckHandlerClock.Stamp.max) - 100))
        let stamp = watch.pulse(at: late)
        _ = watch.pulse(at: late.advanced(by: .milliseconds(500)))
        #expect(watch.age(of: stamp, at: late.advanced(by: .milliseconds(600))) == .milliseconds(600))
    }

    @Test func pulsesAreToldApartWhateverTheClock() {
        var watch = StuckHandlerClock(limit: .milliseconds(10), start: start)
        let stamps = (0..<5).map { _ in watch.pulse(at: after(1)) }
        #expect(Set(stamps).count == 5)
    }

    @Test func nobodyWatchesWhereNobodyAsks() {
        let watch = StuckHandlerClock(limit: nil, start: start)
        #expect(watch.next == nil)
        #expect(
            StuckHandlerClock(limit: .seconds(60), otherInterval: .seconds(5), start: start).interval == .seconds(5)
        )
    }

    @Test func eachStuckDeliveryIsFoundOnceAndOnlyInSomebodysHands() {
        var tracker = OffsetTracker()
        let sequences = (0..<5).map { tracker.handOut(Int64($0), at: 10) }
        #expect(tracker.settle(sequences[1]) == .settled)
        #expect(tracker.reject(sequences[2]) == .settled)
        tracker.abandon(sequences[3])
        #expect(tracker.markStuck(before: 10).isEmpty)
        #expect(tracker.markStuck(before: 11).map(\.offset) == [0, 4])
        #expect(tracker.markStuck(before: 12).isEmpty)
        #expect(tracker.stuckCount == 2)
        // Another attempt counts for itself.
        tracker.handOutAgain(sequences[2], at: 20)
        #expect(tracker.markStuck(before: 20).isEmpty)
        #expect(tracker.markStuck(before: 21).map(\.offset) == [2])
        #expect(tracker.reject(sequences[2]) == .settled)
        #expect(tracker.stuckCount == 2)
        #expect(tracker.settle(sequences[0]) == .settled)
        tracker.abandon(sequences[4])
        #expect(tracker.stuckCount == 0)
        #expect(tracker.heldCount == 0)
    }
}
