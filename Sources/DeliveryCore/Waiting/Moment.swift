/// A moment of the continuous clock, for what is looked at for every message.
///
/// `ContinuousClock.Instant` has a layout that only the running program knows, and so has whatever holds one: each look at
/// another member of it begins with a look at type metadata. This one's is known to the compiler.
@frozen
package struct Moment: InstantProtocol {
    @usableFromInline static let reference = ContinuousClock.now

    @usableFromInline let sinceReference: Duration

    @inlinable
    init(sinceReference: Duration) {
        self.sinceReference = sinceReference
    }

    package init(_ instant: ContinuousClock.Instant) {
        sinceReference = Self.reference.duration(to: instant)
    }

    package static var now: Moment { Moment(ContinuousClock.now) }

    @inlinable
    package func advanced(by duration: Duration) -> Moment {
        Moment(sinceReference: sinceReference + duration)
    }

    @inlinable
    package func duration(to other: Moment) -> Duration {
        other.sinceReference - sinceReference
    }

    @inlinable
    package static func < (one: Moment, other: Moment) -> Bool {
        one.sinceReference < other.sinceReference
    }
}
