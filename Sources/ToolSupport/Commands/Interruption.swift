internal import Dispatch
internal import Foundation
internal import Synchronization

/// SIGINT or SIGTERM, once it has come.
///
/// The first one asks the command to end in its orderly way; a second ends the process on the spot.
package final class Interruption: Sendable {
    private struct State {
        var signal: Int32?
        var actions: [@Sendable () -> Void] = []
    }

    // Set by the task that listens to signals, read by any.
    private let state = Mutex(State())

    /// The signal's number; nil as long as there was none.
    package var signal: Int32? { state.withLock { $0.signal } }

    /// The exit status of a command that was ended by the signal, as shells have it.
    package var status: Int32? { signal.map { ToolFailure.interruptedStatus + $0 } }

    /// Calls `action` when the signal comes, at once where it has come.
    package func onSignal(_ action: @escaping @Sendable () -> Void) {
        let isOver = state.withLock { state in
            if state.signal == nil { state.actions.append(action) }
            return state.signal != nil
        }
        if isOver { action() }
    }

    /// False where this was not the first.
    fileprivate func trigger(_ signal: Int32) -> Bool {
        let actions: [@Sendable () -> Void]? = state.withLock { state in
            guard state.signal == nil else { return nil }
            state.signal = signal
            defer { state.actions = [] }
            return state.actions
        }
        guard let actions else { return false }
        for action in actions { action() }
        return true
    }
}

/// Runs `body` with SIGINT and SIGTERM turned into an ``Interruption``.
package func withInterruption<Result>(_ body: (Interruption) async throws -> Result) async throws -> Result {
    let interruption = Interruption()
    let queue = DispatchQueue(label: "tool.signals")
    let listening = DispatchGroup()
    let sources = [SIGINT, SIGTERM].map { number in
        #if canImport(Darwin)
            // Where signals are not ignored, macOS ends the process before Dispatch sees them; where they are, Linux
            // does not tell Dispatch of them.
            signal(number, SIG_IGN)
        #endif
        let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
        source.setEventHandler {
            if interruption.trigger(number) { return }
            StandardError.show(status: "")
            _exit(ToolFailure.interruptedStatus + number)
        }
        listening.enter()
        source.setRegistrationHandler { listening.leave() }
        source.activate()
        return source
    }
    // Until Dispatch listens, a signal ends the process on the spot.
    await withCheckedContinuation { continuation in listening.notify(queue: queue) { continuation.resume() } }
    defer { for source in sources { source.cancel() } }
    return try await body(interruption)
}
