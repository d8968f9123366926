internal import Synchronization

/// Waits once for many sends: for each part of them, and for each that waited for room.
final class PendingBatch: Sendable {
    private struct State {
        var continuation: CheckedContinuation<Void, Never>?
        var isCancelled = false
    }

    // Sends may end before it is known how many there are.
    private static let unknown = Int.max / 2
    private let remaining = Atomic(PendingBatch.unknown)
    // The last report and the waiting task meet here.
    private let state = Mutex(State())

    func oneIsDone() {
        subtract(1)
    }

    private func subtract(_ count: Int) {
        guard remaining.wrappingSubtract(count, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        state.withLock { $0.continuation.take() }?.resume()
    }

    /// Waits until all are done, or until the task is cancelled. Called once.
    ///
    /// - Parameter count: How many there are.
    func wait(for count: Int) async {
        subtract(Self.unknown - count)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if remaining.load(ordering: .acquiring) == 0 || state.isCancelled { return true }
                    state.continuation = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            let continuation = state.withLock { state in
                state.isCancelled = true
                return state.continuation.take()
            }
            continuation?.resume()
        }
    }
}
