import Synchronization

/// How many events the writers have committed: what faults wait for, so that they come at moments of the work and not of a clock.
final class HistoryProgress: Sendable {
    private struct State {
        var written = 0
        var isDrained = false
        var watchers: [Int: AsyncStream<Void>.Continuation] = [:]
        var lastWatcher = 0
    }

    private let goal: Int
    private let state = Mutex(State())

    init(goal: Int) {
        self.goal = goal
    }

    var isWriting: Bool { state.withLock { $0.written < goal } }
    var isDrained: Bool { state.withLock { $0.isDrained } }

    func add(_ count: Int) {
        change { $0.written += count }
    }

    /// Everything that was written is published.
    func drained() {
        change { $0.isDrained = true }
    }

    /// Waits for so many more events, or the last one.
    func wait(forMore count: Int) async {
        let target = state.withLock { min($0.written + count, goal) }
        await wait { $0.written >= target }
    }

    func waitUntilWritten() async {
        let goal = goal
        await wait { $0.written >= goal }
    }

    func waitUntilDrained() async {
        await wait { $0.isDrained }
    }

    /// A task that is cancelled waits no longer.
    private func wait(until isThere: @Sendable (borrowing State) -> Bool) async {
        let (changes, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let number = state.withLock { state in
            state.lastWatcher += 1
            state.watchers[state.lastWatcher] = continuation
            return state.lastWatcher
        }
        if !state.withLock({ isThere($0) }) {
            for await _ in changes where state.withLock({ isThere($0) }) { break }
        }
        state.withLock { $0.watchers[number] = nil }
    }

    private func change(_ body: @Sendable (inout State) -> Void) {
        let watchers = state.withLock { state in
            body(&state)
            return Array(state.watchers.values)
        }
        for watcher in watchers { watcher.yield() }
    }
}
