internal import DequeModule

/// Where a stream is to be read on after its channel is gone: at the first message without a verdict. A value without threads.
///
/// A stream keeps no place for its consumers. Its deliveries say where they are in it (`x-stream-offset`), with gaps.
struct StreamPosition {
    /// Of the deliveries from number ``first`` on.
    private var offsets: Deque<Int64> = []
    private var first: UInt64 = 1
    /// Behind the last delivery that was let go of.
    private var next: Int64
    /// What the channel was to begin with; the broker sends whole chunks, from before that too.
    private var beginning: Int64

    /// - Parameters:
    ///   - offset: Of the first delivery.
    ///   - beginning: What comes from before this has its verdict.
    init(offset: Int64, beginning: Int64 = .min) {
        next = offset
        self.beginning = beginning
    }

    /// Whether a delivery had its verdict on an earlier channel.
    func isKnown(_ offset: Int64?) -> Bool { offset.map { $0 < beginning } ?? false }

    /// One more delivery; of one that does not say where it is the place is taken for that of the one before.
    mutating func add(_ offset: Int64?) {
        offsets.append(offset ?? offsets.last ?? next)
    }

    /// Lets go of those before a number: they have their verdicts.
    mutating func settled(before number: UInt64) {
        while first < number, let offset = offsets.popFirst() {
            first += 1
            next = max(next, offset &+ 1)
        }
    }

    /// The channel is gone, and the next one counts from 1.
    mutating func endChannel(firstUnsettled: UInt64) {
        settled(before: firstUnsettled)
        self = StreamPosition(offset: resume, beginning: resume)
    }

    /// The offset to ask for.
    var resume: Int64 { offsets.first.map { max($0, beginning) } ?? next }
}
