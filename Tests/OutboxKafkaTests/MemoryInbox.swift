import OutboxDelivery
import Synchronization

/// An inbox in memory, which fails as it is told.
final class MemoryInbox: AsyncInbox {
    /// What the effects of a transaction are noted in.
    final class Transaction: Sendable {
        fileprivate let effects = Mutex<[Int64]>([])

        func note(_ offset: Int64) { effects.withLock { $0.append(offset) } }
    }

    struct State {
        var next: [InboxPlace: Int64] = [:]
        var effects: [Int64] = []
        var calls = 0
    }

    let consumer = "memory"
    private let failure: @Sendable (_ call: Int) -> OutboxError?
    private let failureAtCommit: @Sendable (_ call: Int) -> OutboxError?
    private let failureAtBeginning: OutboxError?
    // Tasks of several partitions, and the test that looks.
    private let state = Mutex(State())

    /// - Parameters:
    ///   - failure: What a transaction fails with before it does anything, by its number from 1; nil for nothing.
    ///   - failureAtCommit: What it fails with when its handler has returned.
    ///   - failureAtBeginning: What the question fails with where a partition begins.
    init(
        failure: @escaping @Sendable (_ call: Int) -> OutboxError? = { _ in nil },
        failureAtCommit: @escaping @Sendable (_ call: Int) -> OutboxError? = { _ in nil },
        failureAtBeginning: OutboxError? = nil
    ) {
        self.failure = failure
        self.failureAtCommit = failureAtCommit
        self.failureAtBeginning = failureAtBeginning
    }

    var calls: Int { state.withLock { $0.calls } }
    var effects: [Int64] { state.withLock { $0.effects } }

    func next(_ place: InboxPlace) -> Int64? { state.withLock { $0.next[place] } }

    func nextOffset(of place: InboxPlace) async throws(OutboxError) -> Int64? {
        if let failureAtBeginning { throw failureAtBeginning }
        return next(place)
    }

    func receive(
        _ messages: [InboxMessage],
        _ effect: @escaping @Sendable (Transaction, [Int]) async throws -> Void
    ) async throws -> [Int] {
        let call = state.withLock { state in
            state.calls += 1
            return state.calls
        }
        if let error = failure(call) { throw error }
        guard let place = try place(of: messages), let last = messages.last else { return [] }
        let next = next(place) ?? .min
        let new = messages.indices.filter { messages[$0].offset >= next }
        let transaction = Transaction()
        if !new.isEmpty { try await effect(transaction, new) }
        if let error = failureAtCommit(call) { throw error }
        let effects = transaction.effects.withLock { $0 }
        state.withLock { state in
            state.next[place] = max(next, last.offset + 1)
            state.effects += effects
        }
        return new
    }
}
