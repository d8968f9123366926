internal import Dispatch
internal import Synchronization

/// Draws a ``Progress`` on standard error ten times a second. By the clock, because a bar that moved only with the
/// confirmations would look alive when they have stopped.
package final class ProgressBar: Sendable {
    private struct State {
        var progress: Progress
        /// What the rate is measured against: the counts of about a second ago.
        var history: [(instant: ContinuousClock.Instant, confirmed: Int)] = []
        var isShown: Bool
    }

    // Dispatch's sources may be cancelled from any thread, though they are not marked Sendable.
    nonisolated(unsafe) private let timer: (any DispatchSourceTimer)?
    private let start = ContinuousClock.now
    // The sending tasks count, the timer's thread draws.
    private let state: Mutex<State>

    /// - Parameter isShown: Whether to draw at all.
    package init(bytesInAll: Int?, isShown: Bool) {
        self.state = Mutex(State(progress: Progress(bytesInAll: bytesInAll), isShown: isShown))
        self.timer =
            isShown ? DispatchSource.makeTimerSource(queue: DispatchQueue(label: "tool.progress")) : nil
        guard let timer else { return }
        timer.schedule(deadline: .now() + .milliseconds(100), repeating: .milliseconds(100))
        timer.setEventHandler { [weak self] in self?.draw() }
        timer.activate()
    }

    deinit {
        timer?.cancel()
    }

    package func update(_ change: (inout Progress) -> Void) {
        state.withLock { change(&$0.progress) }
    }

    /// Takes the bar away.
    ///
    /// - Returns: The final counts, and how long it took.
    package func finish() -> (progress: Progress, elapsed: Duration) {
        let (progress, wasShown) = state.withLock { state in
            defer { state.isShown = false }
            return (state.progress, state.isShown)
        }
        if wasShown { StandardError.show(status: "") }
        return (progress, start.duration(to: .now))
    }

    private func draw() {
        let now = ContinuousClock.now
        // Drawn under the lock, so that nothing is drawn after finish() has taken it away.
        state.withLock { state in
            guard state.isShown else { return }
            let progress = state.progress
            state.history.append((now, progress.confirmed))
            if state.history.count > 11 { state.history.removeFirst() }
            let (then, before) = state.history.first.map { ($0.instant, $0.confirmed) } ?? (start, 0)
            let window = state.history.count > 1 ? then.duration(to: now) : start.duration(to: now)
            let gained = state.history.count > 1 ? progress.confirmed - before : progress.confirmed
            let rate = window > .zero ? Double(gained) / window.inSeconds : 0
            let line = progress.line(after: start.duration(to: now), rate: rate, columns: Platform.columns)
            StandardError.show(status: line)
        }
    }
}
