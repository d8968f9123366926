import Testing

@testable import DeliveryCore

/// A moment is an instant of the continuous clock with a layout of its own.
struct MomentTests {
    @Test func aMomentSaysWhatItsInstantSays() {
        let instant = ContinuousClock.now
        let moment = Moment(instant)
        for distance in [Duration.zero, .nanoseconds(1), .seconds(-3), .seconds(1 << 40)] {
            let other = Moment(instant.advanced(by: distance))
            #expect(moment.duration(to: other) == distance)
            #expect(moment.advanced(by: distance) == other)
            #expect((moment < other) == (distance > .zero))
        }
        #expect(moment <= .now)
    }
}
