extension Duration {
    /// At least zero and at most a billion seconds (31 years): what can be slept for, whatever is asked for.
    ///
    /// `Task.sleep` and the other ways to sleep count in 64 bits, and trap where a time does not fit: `.seconds(Int64.max)` from now does not.
    package var asWait: Duration { min(max(self, .zero), .longestWait) }

    fileprivate static var longestWait: Duration { .seconds(1_000_000_000) }
}

extension ContinuousClock.Instant {
    /// When a time to wait is over that begins now; see ``Swift/Duration/asWait``.
    package static func after(_ wait: Duration) -> ContinuousClock.Instant { .now.advanced(by: wait.asWait) }

    /// This one, and no later than can be slept until.
    package var asDeadline: ContinuousClock.Instant { min(self, .now.advanced(by: .longestWait)) }
}
