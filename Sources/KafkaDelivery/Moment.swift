/// A moment of the continuous clock, for what is looked at for every message.
///
/// `ContinuousClock.Instant` has a layout that only the running program knows, and so has whatever holds one: each look at
/// another member of it begins with a look at type metadata. This one's is known to the compiler.
struct Moment: InstantProtocol {
    private static let reference = ContinuousClock.now

    private let sinceReference: Duration

    private init(sinceReference: Duration) {
        self.sinceReference = sinceReference
    }

    init(_ instant: ContinuousClock.Instant) {
        sinceReference = Self.reference.duration(to: instant)
    }

    static var now: Moment { Moment(ContinuousClock.now) }

    func advanced(by duration: Duration) -> Moment {
        Moment(sinceReference: sinceReference + duration)
    }

    func duration(to other: Moment) -> Duration {
        other.sinceReference - sinceReference
    }

    static func < (one: Moment, other: Moment) -> Bool {
        one.sinceReference < other.sinceReference
    }
}
