import Synchronization
import ToolSupport

/// The line that says how far an experiment has come, on a terminal.
final class ExperimentProgress: Sendable {
    private struct State {
        var mode = ""
        /// What is waited for while no message goes through.
        var note: String?
        var position = 0
        var total = 0
        var start = ContinuousClock.now
        var drawn = ContinuousClock.now
    }

    private let isShown: Bool
    private let modes: Int
    // Sending tasks and the one that runs the experiment count here.
    private let state = Mutex((State(), 0))

    init(modes: Int, isShown: Bool) {
        self.modes = modes
        self.isShown = isShown
    }

    func begin(_ mode: String, of total: Int) {
        let drawn = state.withLock { state in
            state.0 = State(mode: mode, total: total)
            state.1 += 1
            return Self.line(state.0, state.1, of: modes)
        }
        show(drawn)
    }

    /// How many messages are done. Drawn ten times a second at the most.
    func update(_ position: Int) {
        let drawn: String? = state.withLock { state in
            state.0.position = min(max(position, state.0.position), state.0.total)
            guard state.0.drawn.duration(to: .now) >= .milliseconds(100) else { return nil }
            state.0.drawn = .now
            return Self.line(state.0, state.1, of: modes)
        }
        if let drawn { show(drawn) }
    }

    /// Says what is waited for; nil where messages go through again.
    func note(_ what: String?) {
        let drawn = state.withLock { state in
            state.0.note = what
            return Self.line(state.0, state.1, of: modes)
        }
        show(drawn)
    }

    /// Takes the line away.
    func finish() {
        show("")
    }

    private func show(_ line: String) {
        if isShown { StandardError.show(status: line) }
    }

    private static func line(_ state: State, _ index: Int, of modes: Int) -> String {
        let fraction = state.total > 0 ? Double(state.position) / Double(state.total) : 0
        let width = 24
        let filled = Int(fraction * Double(width))
        let bar = String(repeating: "━", count: filled) + String(repeating: "╌", count: width - filled)
        let seconds = Int(state.start.duration(to: .now).inSeconds)
        var line =
            "\(index)/\(modes) \(state.mode) \(bar) \(state.position.grouped) of \(state.total.grouped), \(seconds) s"
        if let note = state.note { line += ", \(note)" }
        return String(line.prefix(max(Platform.columns - 1, 0)))
    }
}
