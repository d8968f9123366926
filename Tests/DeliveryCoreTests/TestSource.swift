import Synchronization

@testable import DeliveryCore

/// A queue in memory that hands deliveries out: what is rejected comes again, as soon as it is read.
final class TestSource: DeliverySource {
    struct State {
        var isEnded: Bool
        var waiting: [TestDelivery] = []
        var acknowledged: [DeliverySequence] = []
        var delays: [Duration] = []
        var postponed: [Duration] = []
        var readers: [CheckedContinuation<TestDelivery?, Never>] = []
        var isClosed = false
        var isDraining = false
    }

    let state: Mutex<State>

    init(isEnded: Bool = false, keys: [String?] = []) {
        state = Mutex(State(isEnded: isEnded))
        state.withLock { state in
            state.waiting = keys.enumerated().map { TestDelivery(self, DeliverySequence($0), key: $1) }
        }
    }

    var acknowledged: [DeliverySequence] { state.withLock { $0.acknowledged } }

    func isCurrent(_ sequence: DeliverySequence) -> Bool { state.withLock { !$0.isEnded && !$0.isDraining } }

    /// Only what is in hand is finished, as when a consumer closes.
    func drain() {
        state.withLock { $0.isDraining = true }
    }

    /// Hands out nothing more, and verdicts change nothing.
    func end() {
        state.withLock { state in
            state.isEnded = true
            state.waiting = []
        }
    }

    /// Hands one out again, to the reader that waits.
    func put(_ delivery: TestDelivery) {
        let reader = state.withLock { state -> CheckedContinuation<TestDelivery?, Never>? in
            if state.isEnded { return nil }
            if let reader = state.readers.popLast() { return reader }
            state.waiting.insert(delivery, at: 0)
            return nil
        }
        reader?.resume(returning: delivery)
    }

    /// Ends the sequence once all that waits is read.
    func close() {
        let readers = state.withLock { state in
            state.isClosed = true
            defer { state.readers = [] }
            return state.readers
        }
        for reader in readers { reader.resume(returning: nil) }
    }
}

extension TestSource: AsyncSequence {
    typealias Element = TestDelivery

    struct Iterator: AsyncIteratorProtocol {
        let source: TestSource

        func next() async -> TestDelivery? {
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let delivery: TestDelivery?? = source.state.withLock { state in
                        if !state.waiting.isEmpty { return state.waiting.removeFirst() }
                        if state.isClosed { return .some(nil) }
                        state.readers.append(continuation)
                        return nil
                    }
                    if let delivery { continuation.resume(returning: delivery) }
                }
            } onCancel: {
                source.close()
            }
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(source: self) }
}

/// An attempt at a message of a ``TestSource``.
final class TestDelivery: SettleableDelivery {
    enum Verdict { case acknowledged, rejected }

    let source: TestSource
    let deliverySequence: DeliverySequence
    let attempt: Int
    let orderKey: String?
    let verdict = Mutex<Verdict?>(nil)

    init(_ source: TestSource, _ sequence: DeliverySequence, attempt: Int = 1, key: String? = nil) {
        self.source = source
        self.deliverySequence = sequence
        self.attempt = attempt
        self.orderKey = key
    }

    var deliverySource: any DeliverySource { source }
    var isCurrent: Bool { source.isCurrent(deliverySequence) }
    var takesVerdict: Bool { source.state.withLock { !$0.isEnded } }
    var settlement: HandlingOutcome? {
        verdict.withLock { $0.map { $0 == .acknowledged ? .settled : isCurrent ? .backsOff : .left } }
    }

    func acknowledge() {
        let isFirst = verdict.withLock { verdict in
            defer { verdict = verdict ?? .acknowledged }
            return verdict == nil
        }
        if isFirst { source.state.withLock { $0.acknowledged.append(deliverySequence) } }
    }

    func negativelyAcknowledge(_ error: any Error, after delay: Duration, holdingOthers: Bool) {
        guard reject() else { return }
        source.state.withLock { $0.delays.append(delay) }
        source.put(TestDelivery(source, deliverySequence, attempt: attempt + 1, key: orderKey))
    }

    func postpone(for delay: Duration, holdingOthers: Bool) -> VerdictEffect {
        guard reject() else { return .repeated }
        source.state.withLock { $0.postponed.append(delay) }
        source.put(TestDelivery(source, deliverySequence, attempt: attempt, key: orderKey))
        return .settled
    }

    private func reject() -> Bool {
        verdict.withLock { verdict in
            defer { verdict = verdict ?? .rejected }
            return verdict == nil
        }
    }
}
