internal import Synchronization

/// Hands elements from one task to another, in order; the sender waits where too much is on its way.
///
/// For one receiver. Cancellation does not reach into it: ``finish()`` ends it.
package final class BoundedChannel<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        var cost = 0
        var isFinished = false
        var receiver: CheckedContinuation<Void, Never>?
        var senders: [CheckedContinuation<Void, Never>] = []
    }

    private let capacity: Int
    // Both tasks take it for a few instructions, so that neither has to change threads to meet the other.
    private let state = Mutex(State())

    /// - Parameter capacity: The most that the elements may cost that were sent and not received yet. An element that
    ///   costs more passes alone.
    package init(capacity: Int) {
        self.capacity = capacity
    }

    /// Sends an element; waits until there is room. After ``finish()`` it is let go of.
    package func send(_ element: Element, cost: Int) async {
        while true {
            let (isSent, receiver) = state.withLock { state in
                if state.isFinished { return (true, nil as CheckedContinuation<Void, Never>?) }
                guard state.elements.isEmpty || state.cost + cost <= capacity else { return (false, nil) }
                state.elements.append(element)
                state.cost += cost
                return (true, state.receiver.take())
            }
            receiver?.resume()
            if isSent { return }
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    let mustWait = !state.isFinished && !state.elements.isEmpty
                    if mustWait { state.senders.append(continuation) }
                    return !mustWait
                }
                if isOver { continuation.resume() }
            }
        }
    }

    /// No more elements will come.
    package func finish() {
        let waiting = state.withLock { state in
            state.isFinished = true
            defer {
                state.receiver = nil
                state.senders = []
            }
            return state.senders + (state.receiver.map { [$0] } ?? [])
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Everything that is there, once something is; nil after the last.
    package func receive() async -> [Element]? {
        while true {
            let (elements, isOver, senders) = state.withLock { state in
                let elements = state.elements
                state.elements = []
                state.cost = 0
                defer { state.senders = [] }
                return (elements, state.isFinished, state.senders)
            }
            for sender in senders { sender.resume() }
            if !elements.isEmpty { return elements }
            if isOver { return nil }
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    let mustWait = state.elements.isEmpty && !state.isFinished
                    if mustWait { state.receiver = continuation }
                    return !mustWait
                }
                if isOver { continuation.resume() }
            }
        }
    }
}
