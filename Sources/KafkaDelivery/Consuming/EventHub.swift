internal import DequeModule
internal import ServiceLifecycle
internal import Synchronization

/// Passes events on to every listener.
final class EventHub: Sendable {
    private struct State {
        var listeners: [UInt64: EventBuffer] = [:]
        var assignedCount = 0
        var counts = EventCounts()
        var isFinished = false
    }

    // Listeners come and go on any task, events come from the consumer's thread and from readers.
    private let state = Mutex(State())

    func listen() -> KafkaConsumer.Events {
        let buffer = EventBuffer()
        let id = WaiterID.next()
        let isFinished = state.withLock { state in
            if !state.isFinished { state.listeners[id] = buffer }
            return state.isFinished
        }
        if isFinished { buffer.finish() }
        return KafkaConsumer.Events(listener: EventListener(buffer: buffer, hub: self, id: id))
    }

    fileprivate func remove(_ id: UInt64) {
        _ = state.withLock { $0.listeners.removeValue(forKey: id) }
    }

    func send(_ event: KafkaConsumer.Event) {
        let (listeners, assignedCount) = state.withLock { state in
            switch event {
            case .assigned(let partitions, _): state.assignedCount += partitions.count
            case .revoked(let partitions, _), .lost(let partitions, _): state.assignedCount -= partitions.count
            case .stuck: state.counts.stuck += 1
            case .deadLettered: state.counts.deadLetters += 1
            case .deadLetterFailed: state.counts.deadLetterFailures += 1
            case .deadLetterRefused: state.counts.deadLetterRefusals += 1
            default: break
            }
            return (Array(state.listeners.values), state.assignedCount)
        }
        // Every partition may have been caught up with, and be assigned and revoked, while a listener is busy.
        for listener in listeners { listener.add(event, maximum: 256 + 4 * max(assignedCount, 0)) }
    }

    var counts: EventCounts { state.withLock { $0.counts } }

    func finish() {
        let listeners = state.withLock { state in
            state.isFinished = true
            defer { state.listeners = [:] }
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.finish() }
    }
}

/// One listener. A class, because the hub has to know when it is let go of.
final class EventListener: Sendable {
    private let buffer: EventBuffer
    private let hub: EventHub
    private let id: UInt64

    fileprivate init(buffer: EventBuffer, hub: EventHub, id: UInt64) {
        self.buffer = buffer
        self.hub = hub
        self.id = id
    }

    deinit {
        hub.remove(id)
    }

    func next() async -> KafkaConsumer.Event? {
        await buffer.next()
    }

    var count: Int { buffer.count }
}

/// What one listener has not read yet. Not an `AsyncStream`, whose bound cannot grow with what is assigned.
private final class EventBuffer: Sendable {
    private struct Waiter {
        let id: UInt64
        let continuation: CheckedContinuation<KafkaConsumer.Event?, Never>
    }

    private struct State {
        var events: Deque<KafkaConsumer.Event> = []
        var waiters: Deque<Waiter> = []
        var isFinished = false
    }

    // Events come from any thread, and are read by any task.
    private let state = Mutex(State())

    func add(_ event: KafkaConsumer.Event, maximum: Int) {
        let waiter = state.withLock { state -> Waiter? in
            if let waiter = state.waiters.popFirst() { return waiter }
            state.events.append(event)
            while state.events.count > maximum { state.events.removeFirst() }
            return nil
        }
        waiter?.continuation.resume(returning: event)
    }

    func finish() {
        let waiters = state.withLock { state in
            state.isFinished = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.continuation.resume(returning: nil) }
    }

    var count: Int { state.withLock { $0.events.count } }

    /// The next event; nil when there will be none, the task is cancelled or its service shut down.
    func next() async -> KafkaConsumer.Event? {
        let id = WaiterID.next()
        return await withGracefulShutdownHandler {
            await waitCancellably(as: id) { id, continuation in
                let now = state.withLock { state -> KafkaConsumer.Event?? in
                    if let event = state.events.popFirst() { return event }
                    if state.isFinished { return .some(nil) }
                    state.waiters.append(Waiter(id: id, continuation: continuation))
                    return nil
                }
                if let now { continuation.resume(returning: now) }
                // Shut down before the waiter was there: the handler has run already and found none.
                if Task.isShuttingDownGracefully { cancel(id) }
            } onCancel: { id in
                cancel(id)
            }
        } onGracefulShutdown: {
            self.cancel(id)
        }
    }

    private func cancel(_ id: UInt64) {
        let waiter = state.withLock { state in
            state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
        }
        waiter?.continuation.resume(returning: nil)
    }
}
