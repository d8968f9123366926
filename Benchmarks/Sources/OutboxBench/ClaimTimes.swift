import OutboxDelivery
import Synchronization

/// A store that measures how long its sessions' reads take, all together.
final class ClaimTimes<Base: OutboxStore>: OutboxStore {
    private let base: Base
    private let sum = Mutex(Duration.zero)

    init(_ base: Base) {
        self.base = base
    }

    var total: Duration { sum.withLock { $0 } }

    func openSession() async throws(OutboxError) -> TimedSession {
        TimedSession(base: try await base.openSession()) { [self] time in sum.withLock { $0 += time } }
    }

    struct TimedSession: OutboxSession {
        let base: Base.Session
        let note: @Sendable (Duration) -> Void

        var keepAlive: Duration { base.keepAlive }

        func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare { try await base.balance(busy: busy) }

        func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] {
            let start = ContinuousClock.now
            let events = try await base.read(request)
            note(start.duration(to: .now))
            return events
        }

        func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int {
            try await base.settle(settlement)
        }

        func maintain() async throws(OutboxError) -> OutboxMaintenance { try await base.maintain() }

        func waitForWork(atMost timeout: Duration) async -> Bool { await base.waitForWork(atMost: timeout) }

        func close() async { await base.close() }
    }
}
