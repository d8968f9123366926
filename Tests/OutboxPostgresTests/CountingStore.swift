import OutboxDelivery
import Synchronization

/// A store that counts what its sessions are asked for.
final class CountingStore<Base: OutboxStore>: OutboxStore {
    private struct State {
        var reads = 0
        var waits = 0
    }

    private let base: Base
    private let state = Mutex(State())

    init(_ base: Base) {
        self.base = base
    }

    /// How many reads, and waits for work, have begun.
    var counts: (waits: Int, reads: Int) { state.withLock { ($0.waits, $0.reads) } }

    func openSession() async throws(OutboxError) -> CountingSession {
        CountingSession(base: try await base.openSession(), store: self)
    }

    struct CountingSession: OutboxSession {
        let base: Base.Session
        let store: CountingStore

        var keepAlive: Duration { base.keepAlive }

        func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare { try await base.balance(busy: busy) }

        func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] {
            store.state.withLock { $0.reads += 1 }
            return try await base.read(request)
        }

        func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int {
            try await base.settle(settlement)
        }

        func maintain() async throws(OutboxError) -> OutboxMaintenance { try await base.maintain() }

        func waitForWork(atMost timeout: Duration) async -> Bool {
            store.state.withLock { $0.waits += 1 }
            return await base.waitForWork(atMost: timeout)
        }

        func close() async { await base.close() }
    }
}
