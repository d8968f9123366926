import Synchronization
import Testing

@testable import DeliveryCore

/// A handler's end turned into a verdict, over deliveries that are nobody's but the test's.
@Suite(.timeLimit(.minutes(5)))
struct FailureHandlingTests {
    struct Failure: Error, Equatable {}
    struct Unreadable: PermanentFailure {}

    struct Refusal: DeliveryError, Equatable {
        var persistence: DeliveryPersistence? = .notPersisted
        var recovery = DeliveryRecovery.retry
        var reason = "not now"
        var description: String { reason }
    }

    /// A client in memory: what it publishes fails as often as it is told.
    final class Host: HandlingHost {
        typealias Delivery = TestDelivery
        typealias Receipt = String
        typealias Letter = String
        typealias Origin = DeliverySequence
        typealias RetryRoute = String
        typealias Failure = Refusal

        struct State {
            var outcomes: [CopyOutcome<String, String, Refusal>] = []
            var published: [String] = []
            var notes: [String] = []
            var attempts: [Int] = []
            var handedOver: [String] = []
        }

        let state = Mutex(State())
        let hasDeadLetters: Bool
        let handsOverRefusedLetters: Bool
        let routes: [String]
        let handOver: @Sendable (TestDelivery) throws -> Void
        /// What happens between a delivery's place among those that run and its handler.
        let beforeHandlers: @Sendable () -> Void

        init(
            deadLetters: Bool = true,
            routes: [String] = [],
            handsOver: Bool = false,
            outcomes: [CopyOutcome<String, String, Refusal>] = [],
            handOver: @escaping @Sendable (TestDelivery) throws -> Void = { _ in },
            beforeHandlers: @escaping @Sendable () -> Void = {}
        ) {
            self.hasDeadLetters = deadLetters
            self.handsOverRefusedLetters = handsOver
            self.routes = routes
            self.handOver = handOver
            self.beforeHandlers = beforeHandlers
            state.withLock { $0.outcomes = outcomes }
        }

        func holdsBack(_ delivery: TestDelivery) -> Bool { false }
        func failureBeforeHandling(_ delivery: TestDelivery) -> (any Error)? { nil }
        func record(_ error: any Error, of delivery: TestDelivery) -> FailureRecord<DeliverySequence> {
            FailureRecord(error, attempts: delivery.attempt, origin: delivery.deliverySequence)
        }
        func retryRoute(after record: Record) -> String? { routes.first }
        func publish(_ record: Record, of delivery: TestDelivery, to route: String) async
            -> CopyOutcome<String, String, Refusal>
        {
            publish("\(record.origin) to \(route)")
        }
        func publishDeadLetter(_ record: Record, of delivery: TestDelivery) async
            -> CopyOutcome<String, String, Refusal>
        {
            publish("\(record.origin) to the dead letters after \(record.attempts)")
        }
        private func publish(_ copy: String) -> CopyOutcome<String, String, Refusal> {
            state.withLock { state in
                let outcome = state.outcomes.isEmpty ? .stored(copy) : state.outcomes.removeFirst()
                if case .stored = outcome { state.published.append(copy) }
                return outcome
            }
        }
        func handOver(_ letter: String, of delivery: TestDelivery, _ error: Refusal) async throws {
            state.withLock { $0.handedOver.append(letter) }
            try handOver(delivery)
        }
        func note(_ note: HandlingNote<Host>, of delivery: TestDelivery) {
            let text =
                switch note {
                case .redelivery(let attempt, _): "attempt \(attempt)"
                case .storedForRetry: "waits elsewhere"
                case .retryCopyFailed: "not stored for retry"
                case .retryCopyRefused: "refused for retry"
                case .deadLettered: "dead letter"
                case .deadLetterFailed: "no dead letter yet"
                case .deadLetterRefused: "no dead letter ever"
                case .handOverFailed: "not handed over"
                case .handedOver: "handed over"
                case .clientDone: "client done"
                case .copyPostponed: "postponed"
                }
            state.withLock { $0.notes.append(text) }
        }
        func runningHandlers(_ body: () async throws -> Void) async rethrows {
            beforeHandlers()
            try await body()
        }
        func laneEpoch(_ delivery: TestDelivery) -> LaneEpoch { LaneEpoch(generation: 1, restarts: 0) }
    }

    private static let twice = RetryPolicy.fixed(.seconds(2), maximumAttempts: 2)

    /// Handles one message, and what comes of it again, until nothing is left.
    private func handle(
        _ host: Host,
        _ retry: RetryPolicy = twice,
        _ handler: @escaping @Sendable (TestDelivery) async throws -> Void
    ) async throws -> TestSource {
        let source = TestSource(keys: ["a"])
        source.close()
        try await FailureHandling(host: host, retry: retry, holdsOthers: true).run(source, handler)
        return source
    }

    @Test func returningAcknowledges() async throws {
        let host = Host()
        let source = try await handle(host) { _ in }
        #expect(source.acknowledged == [0])
        #expect(host.state.withLock { $0.notes } == [])
    }

    @Test func throwingNegativelyAcknowledgesWithThePolicysDelayAndThenTheDeadLetterIsConfirmedFirst() async throws {
        let host = Host()
        let source = try await handle(host) { _ in throw Failure() }
        #expect(source.state.withLock { $0.delays } == [.seconds(2)])
        #expect(host.state.withLock { $0.published } == ["0 to the dead letters after 2"])
        #expect(host.state.withLock { $0.notes } == ["attempt 2", "dead letter"])
        #expect(source.acknowledged == [0])
    }

    @Test func aVerdictOfTheHandlerCountsWhateverItThrowsThen() async throws {
        let host = Host()
        let source = try await handle(host) { delivery in
            delivery.acknowledge()
            throw Failure()
        }
        #expect(source.acknowledged == [0])
        #expect(host.state.withLock { $0.notes } == [])
    }

    @Test func aHandlerThatLeavesItsMessageHasMadeNoAttemptAndPublishesNothing() async throws {
        let host = Host(routes: ["orders-retry-5s"])
        let source = try await handle(host, .none) { _ in throw HandlingStop.leave }
        #expect(source.acknowledged == [])
        #expect(source.state.withLock { $0.delays + $0.postponed } == [])
        #expect(host.state.withLock { $0.published + $0.notes } == [])
    }

    @Test func aHandlerThatEndsTheLoopLeavesItsMessageUnsettledAlsoWhereThereAreDeadLetters() async throws {
        let host = Host()
        for policy in [RetryPolicy.none, Self.twice] {
            await #expect(throws: Failure.self) {
                try await handle(host, policy) { _ in throw HandlingStop.endLoop(Failure()) }
            }
        }
        #expect(host.state.withLock { $0.published + $0.notes } == [])
    }

    @Test func whatIsGivenUpWaitsElsewhereWhereThereIsSuchAPlace() async throws {
        let host = Host(routes: ["orders-retry-5s"])
        let source = try await handle(host, .none) { _ in throw Failure() }
        #expect(host.state.withLock { $0.published } == ["0 to orders-retry-5s"])
        #expect(source.acknowledged == [0])
    }

    @Test func aPermanentFailureIsADeadLetterAtOnce() async throws {
        let host = Host(routes: ["orders-retry-5s"])
        _ = try await handle(host, .fixed(.zero, maximumAttempts: nil)) { _ in throw Unreadable() }
        #expect(host.state.withLock { $0.published } == ["0 to the dead letters after 1"])
    }

    @Test func aCopyThatIsNotStoredIsPublishedAgainWithoutTheHandler() async throws {
        let host = Host(outcomes: [.failed(Refusal()), .failed(Refusal())])
        let calls = Mutex(0)
        let source = try await handle(host, .none) { _ in
            calls.withLock { $0 += 1 }
            throw Failure()
        }
        #expect(calls.withLock { $0 } == 1)
        #expect(source.state.withLock { $0.postponed } == [.milliseconds(200), .milliseconds(400)])
        #expect(host.state.withLock { $0.published } == ["0 to the dead letters after 1"])
        #expect(source.acknowledged == [0])
    }

    @Test func aClientThatIsDoneIsSaidOnceAndTheMessageStaysUnsettled() async throws {
        let done = Refusal(recovery: .recreateClient)
        let host = Host(outcomes: [.failed(done), .failed(done)])
        _ = try await handle(host, .none) { _ in throw Failure() }
        #expect(host.state.withLock { $0.notes }.count { $0 == "client done" } == 1)
    }

    @Test func aCopyThatNoRetryQueueTakesIsADeadLetterAndALetterThatIsRefusedIsHandedOver() async throws {
        let refusal = Refusal(recovery: .fixRequest)
        let host = Host(
            routes: ["narrow"],
            handsOver: true,
            outcomes: [.refused(refusal, "copy"), .refused(refusal, "letter")]
        )
        let source = try await handle(host, .none) { _ in throw Failure() }
        #expect(host.state.withLock { $0.handedOver } == ["letter"])
        #expect(host.state.withLock { $0.notes } == ["refused for retry", "no dead letter ever", "handed over"])
        #expect(source.acknowledged == [0])
    }

    @Test func aClosureThatSendsAMessageBackTooLateHasNotTakenItOver() async throws {
        let host = Host(
            handsOver: true,
            outcomes: [.refused(Refusal(recovery: .fixRequest), "letter")],
            handOver: { delivery in
                delivery.source.end()
                delivery.negativelyAcknowledge(Failure(), after: .zero, holdingOthers: true)
            }
        )
        let source = try await handle(host, .none) { _ in throw Failure() }
        #expect(host.state.withLock { $0.handedOver } == ["letter"])
        #expect(host.state.withLock { $0.notes } == ["no dead letter ever"])
        #expect(source.acknowledged == [])
    }

    @Test func aClosureThatEndsTheLoopLeavesItsMessageUnsettled() async throws {
        let host = Host(
            handsOver: true,
            outcomes: [.refused(Refusal(recovery: .fixRequest), "letter")],
            handOver: { _ in throw HandlingStop.endLoop(Unreadable()) }
        )
        let source = TestSource(keys: ["a", "b"])
        source.close()
        await #expect(throws: Unreadable.self) {
            try await FailureHandling(host: host, retry: .none, holdsOthers: true).run(source) { _ in throw Failure() }
        }
        #expect(source.acknowledged == [])
        #expect(host.state.withLock { $0.notes } == ["no dead letter ever"])
        // What was not read knows its source.
        source.end()
    }

    @Test func withoutDeadLettersTheErrorEndsTheLoopAndTheMessageStaysUnsettled() async throws {
        let host = Host(deadLetters: false)
        let source = TestSource(keys: ["a", "b"])
        source.close()
        await #expect(throws: Failure.self) {
            try await FailureHandling(host: host, retry: .none, holdsOthers: true).run(source) { _ in throw Failure() }
        }
        #expect(source.acknowledged == [])
        // What was not read knows its source.
        source.end()
    }

    @Test func lanesKeepTheOrderOfAKeyOverRetriesAndHandleOtherKeysMeanwhile() async throws {
        let source = TestSource(keys: ["a", "a", "b", nil])
        let host = Host()
        let handled = Mutex<[DeliverySequence]>([])
        let handling = FailureHandling(host: host, retry: Self.twice, holdsOthers: false)
        try await LaneDispatcher(maximum: 8, orderedByKey: true, handling: handling).run(source) { delivery in
            if delivery.deliverySequence == 0, delivery.attempt == 1 { throw Failure() }
            let count = handled.withLock { handled in
                handled.append(delivery.deliverySequence)
                return handled.count
            }
            if count == 4 { source.close() }
        }
        let order = handled.withLock { $0 }
        #expect(order.sorted() == [0, 1, 2, 3])
        #expect(order.filter { $0 < 2 } == [0, 1])
        #expect(source.acknowledged.sorted() == [0, 1, 2, 3])
    }

    @Test func closingFinishesWhatHasAPlaceAlsoWhereItsHandlerHasNotBegun() async throws {
        let source = TestSource(keys: [nil])
        source.close()
        let host = Host(beforeHandlers: { source.drain() })
        let handling = FailureHandling(host: host, retry: .none, holdsOthers: false)
        try await LaneDispatcher(maximum: 2, orderedByKey: true, handling: handling).run(source) { _ in }
        #expect(source.acknowledged == [0])
    }

    @Test func whatWentAwayBeforeItsHandlerBeganIsNotHandled() async throws {
        let source = TestSource(keys: [nil])
        source.close()
        let host = Host(beforeHandlers: { source.end() })
        let handling = FailureHandling(host: host, retry: .none, holdsOthers: false)
        try await LaneDispatcher(maximum: 2, orderedByKey: true, handling: handling).run(source) { _ in
            Issue.record("its partition has another owner")
        }
        #expect(source.acknowledged == [])
    }

    @Test func closingBeginsWithNothingMore() async throws {
        let source = TestSource(keys: ["a", nil])
        source.close()
        source.drain()
        let handling = FailureHandling(host: Host(), retry: .none, holdsOthers: false)
        try await LaneDispatcher(maximum: 2, orderedByKey: true, handling: handling).run(source) { _ in }
        #expect(source.acknowledged == [])
    }
}
