import DeliverySystem
import OutboxDelivery
import Synchronization

/// Ends the process as a crash does, where it comes to a step for the nth time.
final class SuddenEnd: Sendable {
    private let step: String?
    private let left: Mutex<Int>

    init(at step: String?, count: Int) {
        self.step = step
        self.left = Mutex(count)
    }

    func reach(_ name: String) {
        guard name == step else { return }
        let isNow = left.withLock { left in
            left -= 1
            return left == 0
        }
        if isNow { kill(getpid(), SIGKILL) }
    }
}

/// A store whose sessions tell where they are: before a step its verb ends in -ing, after it it does not.
struct EndingStore<Base: OutboxStore>: OutboxStore {
    let base: Base
    let end: SuddenEnd

    init(_ base: Base, _ end: SuddenEnd) {
        self.base = base
        self.end = end
    }

    var notesBatches: Bool { base.notesBatches }

    func openSession() async throws(OutboxError) -> EndingSession<Base.Session> {
        let session = try await base.openSession()
        end.reach("opened")
        return EndingSession(base: session, end: end)
    }
}

struct EndingSession<Base: OutboxSession>: OutboxSession {
    let base: Base
    let end: SuddenEnd

    var keepAlive: Duration { base.keepAlive }

    func balance(busy: Set<Int>) async throws(OutboxError) -> OutboxShare {
        let share = try await base.balance(busy: busy)
        end.reach("balanced")
        return share
    }

    func leave(busy: Set<Int>) async throws(OutboxError) -> OutboxShare { try await base.leave(busy: busy) }

    func read(_ request: OutboxReadRequest) async throws(OutboxError) -> [OutboxEvent] {
        let events = try await base.read(request)
        if !events.isEmpty { end.reach("read") }
        return events
    }

    func settle(_ settlement: OutboxSettlement) async throws(OutboxError) -> Int {
        end.reach("settling")
        let count = try await base.settle(settlement)
        end.reach("settled")
        return count
    }

    func lastInflight(slot: Int, destination: String) async throws(OutboxError) -> OutboxInflight? {
        let last = try await base.lastInflight(slot: slot, destination: destination)
        end.reach("asked")
        return last
    }

    func note(_ inflight: OutboxInflight) async throws(OutboxError) {
        end.reach("noting")
        try await base.note(inflight)
        end.reach("noted")
    }

    func conclude(_ inflight: OutboxInflight) async throws(OutboxError) {
        end.reach("concluding")
        try await base.conclude(inflight)
        end.reach("concluded")
    }

    func maintain() async throws(OutboxError) -> OutboxMaintenance {
        let found = try await base.maintain()
        end.reach("maintained")
        return found
    }

    func waitForWork(atMost timeout: Duration) async -> Bool { await base.waitForWork(atMost: timeout) }

    func close() async { await base.close() }
}

struct EndingDestination: OutboxDestination {
    let base: any OutboxDestination
    let end: SuddenEnd

    init(_ base: any OutboxDestination, _ end: SuddenEnd) {
        self.base = base
        self.end = end
    }

    var maximumBatchCount: Int { 64 }

    func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
        end.reach("publishing")
        let outcomes = await base.publish(batch)
        end.reach("published")
        return outcomes
    }
}
