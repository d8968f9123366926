internal import Synchronization

/// Passes events on to all who listen.
final class EventHub: Sendable {
    private struct State {
        var listeners: [UInt64: AsyncStream<RabbitEvent>.Continuation] = [:]
        var isFinished = false
    }

    // Listeners come and go on any task, events come from the connection's thread and from handlers.
    private let state = Mutex(State())

    func listen() -> RabbitEvents {
        let (stream, continuation) = AsyncStream.makeStream(
            of: RabbitEvent.self,
            bufferingPolicy: .bufferingNewest(256)
        )
        let id = WaiterID.next()
        continuation.onTermination = { [weak self] _ in self?.remove(id) }
        let isFinished = state.withLock { state in
            if !state.isFinished { state.listeners[id] = continuation }
            return state.isFinished
        }
        if isFinished { continuation.finish() }
        return RabbitEvents(stream: stream)
    }

    private func remove(_ id: UInt64) {
        _ = state.withLock { $0.listeners.removeValue(forKey: id) }
    }

    func send(_ event: RabbitEvent) {
        let listeners = state.withLock { Array($0.listeners.values) }
        for listener in listeners { listener.yield(event) }
    }

    func finish() {
        let listeners = state.withLock { state in
            state.isFinished = true
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.finish() }
    }
}
