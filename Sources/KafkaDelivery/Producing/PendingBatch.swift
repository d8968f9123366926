internal import Synchronization

/// Waits once for many sends: for each part of them, and for each that waited for room.
final class PendingBatch: Sendable {
    // Sends may end before it is known how many there are.
    private static let unknown = Int.max / 2
    private let remaining = Atomic(PendingBatch.unknown)
    // The last report, the waiting task and its cancellation meet here.
    private let waiter = Mutex<CheckedContinuation<Void, Never>?>(nil)

    func oneIsDone() {
        subtract(1)
    }

    private func subtract(_ count: Int) {
        guard remaining.wrappingSubtract(count, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        waiter.withLock { $0.take() }?.resume()
    }

    /// Waits until all are done, or until the task is cancelled. Called once.
    ///
    /// - Parameter count: How many there are.
    func wait(for count: Int) async {
        subtract(Self.unknown - count)
        await waitCancellably { _, continuation in
            let isOver = waiter.withLock { waiter in
                if remaining.load(ordering: .acquiring) == 0 { return true }
                waiter = continuation
                return false
            }
            if isOver { continuation.resume() }
        } onCancel: { _ in
            waiter.withLock { $0.take() }?.resume()
        }
    }
}
