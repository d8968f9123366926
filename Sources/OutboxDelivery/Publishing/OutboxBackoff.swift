/// Waits that grow: doubled from a first to a longest, and drawn from the upper half, so that publishers that lost the same server do
/// not all come back at once.
package struct OutboxBackoff: Sendable {
    package var first: Duration
    package var longest: Duration
    private var failures = 0

    package init(first: Duration, longest: Duration) {
        self.first = first
        self.longest = longest
    }

    /// The wait after one more failure.
    package mutating func next() -> Duration {
        failures = min(failures + 1, 62)
        let whole = Self.wait(after: failures, first: first, longest: longest)
        return whole * Double.random(in: 0.5...1)
    }

    /// It works again.
    package mutating func reset() {
        failures = 0
    }

    /// Without the draw.
    static func wait(after failures: Int, first: Duration, longest: Duration) -> Duration {
        var wait = min(first, longest)
        for _ in 1..<max(min(failures, 62), 1) where wait < longest { wait = min(wait * 2, longest) }
        return wait
    }
}
