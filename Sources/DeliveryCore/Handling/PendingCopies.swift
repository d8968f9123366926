public import Synchronization

/// Deliveries whose copies could not be published: each is handed out again after a while, and its handler not called again.
@usableFromInline
package final class PendingCopies<Delivery: SettleableDelivery, Copy: Sendable>: Sendable {
    private struct Position: Hashable {
        let source: ObjectIdentifier
        let sequence: DeliverySequence

        init(_ delivery: Delivery) {
            source = ObjectIdentifier(delivery.deliverySource)
            sequence = delivery.deliverySequence
        }
    }

    private struct Entry {
        let copy: Copy
        /// Keeps its identity from being another's.
        let source: any DeliverySource
    }

    private struct State {
        var entries: [Position: Entry] = [:]
        /// At how many entries those of sources that are gone are looked for.
        var limit = 64
    }

    // Handlers' tasks meet here.
    private let state = Mutex(State())
    // Looked at for each delivery, without the lock: there is hardly ever one.
    @usableFromInline let count = Atomic(0)

    @usableFromInline
    package init() {}

    @usableFromInline
    package func contains(_ delivery: Delivery) -> Bool {
        guard count.load(ordering: .acquiring) > 0 else { return false }
        return state.withLock { $0.entries[Position(delivery)] != nil }
    }

    /// Notes one before it is handed out again.
    @usableFromInline
    package func put(_ copy: Copy, _ delivery: Delivery) {
        guard delivery.isCurrent else { return }
        let crowd = state.withLock { state -> [Position: Entry] in
            state.entries[Position(delivery)] = Entry(copy: copy, source: delivery.deliverySource)
            count.store(state.entries.count, ordering: .releasing)
            return state.entries.count >= state.limit ? state.entries : [:]
        }
        if !crowd.isEmpty { removeEnded(crowd) }
    }

    /// Takes one that is handed out again.
    @inlinable
    package func take(_ delivery: Delivery) -> Copy? {
        guard count.load(ordering: .acquiring) > 0 else { return nil }
        return remove(delivery)
    }

    @usableFromInline
    func remove(_ delivery: Delivery) -> Copy? {
        state.withLock { state in
            defer { count.store(state.entries.count, ordering: .releasing) }
            return state.entries.removeValue(forKey: Position(delivery))?.copy
        }
    }

    /// What went away with its source is never handed out here again.
    private func removeEnded(_ crowd: [Position: Entry]) {
        // Sources have locks of their own, so this lock is not held.
        let ended = crowd.filter { !$0.value.source.isCurrent($0.key.sequence) }.keys
        state.withLock { state in
            for position in ended { state.entries[position] = nil }
            state.limit = max(64, 2 * state.entries.count)
            count.store(state.entries.count, ordering: .releasing)
        }
    }
}
