import Synchronization
import Testing

@testable import DeliveryCore

@Suite struct AfterCommitTests {
    struct Failure: DeliveryError, Equatable {
        var number = 0
        var persistence: DeliveryPersistence? = .notPersisted
        var recovery = DeliveryRecovery.retry
        var retryAfter: Duration?
        var reason: String { "attempt \(number)" }
        var description: String { reason }
    }

    /// Fails as it is told, then takes everything.
    final class Scripted: Destination {
        private let state: Mutex<(failures: [Failure], messages: [String])>

        init(_ failures: Failure...) {
            state = Mutex((failures, []))
        }

        var messages: [String] { state.withLock { $0.messages } }

        func send(_ message: String) async throws(Failure) -> Int {
            let outcome: Result<Int, Failure> = state.withLock { state in
                state.messages.append(message)
                let count = state.messages.count
                return count <= state.failures.count ? .failure(state.failures[count - 1]) : .success(count)
            }
            return try outcome.get()
        }

        func send(contentsOf messages: some Sequence<String>) async -> [Result<Int, Failure>] { [] }
    }

    /// A clock that notes how long it is asked to sleep, and does not.
    final class NotingClock: Clock {
        struct Instant: InstantProtocol {
            var offset = Duration.zero
            func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
            func duration(to other: Instant) -> Duration { other.offset - offset }
            static func < (one: Instant, other: Instant) -> Bool { one.offset < other.offset }
        }

        private let state = Mutex<(now: Instant, pauses: [Duration])>((Instant(), []))
        private let onSleep: @Sendable () -> Void

        init(onSleep: @escaping @Sendable () -> Void = {}) { self.onSleep = onSleep }

        var now: Instant { state.withLock { $0.now } }
        var minimumResolution: Duration { .nanoseconds(1) }
        var pauses: [Duration] { state.withLock { $0.pauses } }

        func sleep(until deadline: Instant, tolerance: Duration?) async throws {
            state.withLock { state in
                state.pauses.append(state.now.duration(to: deadline))
                state.now = deadline
            }
            onSleep()
            try Task.checkCancellation()
        }
    }

    private let clock = NotingClock()

    private func failure(_ send: () async throws(Failure) -> Int) async -> Failure? {
        do throws(Failure) {
            _ = try await send()
            return nil
        } catch {
            return error
        }
    }

    @Test func anEventAfterTheCommitHasThreeAttemptsAHundredMillisecondsApart() async throws {
        let destination = Scripted(Failure(number: 1), Failure(number: 2))
        #expect(try await destination.sendAfterCommit("m", clock: clock) == 3)
        #expect(destination.messages == ["m", "m", "m"])
        #expect(clock.pauses == [.milliseconds(100), .milliseconds(100)])
    }

    @Test func theLastAttemptsErrorIsThrown() async {
        let destination = Scripted(Failure(number: 1), Failure(number: 2), Failure(number: 3), Failure(number: 4))
        let error = await failure { () throws(Failure) in try await destination.sendAfterCommit("m", clock: clock) }
        #expect(error == Failure(number: 3))
        #expect(destination.messages.count == 3)
        #expect(clock.pauses.count == 2)
    }

    @Test func anOutcomeThatIsUnknownIsFollowedByAnotherAttempt() async throws {
        let destination = Scripted(Failure(persistence: .possiblyPersisted))
        #expect(try await destination.sendAfterCommit("m", clock: clock) == 2)
    }

    @Test(arguments: [DeliveryRecovery.fixRequest, .recreateClient, .abortTransaction])
    func whatFailsAgainIsNotTriedAgain(recovery: DeliveryRecovery) async {
        let destination = Scripted(Failure(recovery: recovery))
        let error = await failure { () throws(Failure) in try await destination.sendAfterCommit("m", clock: clock) }
        #expect(error?.recovery == recovery)
        #expect(destination.messages.count == 1)
        #expect(clock.pauses.isEmpty)
    }

    @Test func aPauseThatTheDestinationAsksForIsKeptUpToTheMaximum() async {
        let destination = Scripted(Failure(retryAfter: .milliseconds(700)), Failure(number: 2, retryAfter: .seconds(2)))
        let error = await failure { () throws(Failure) in try await destination.sendAfterCommit("m", clock: clock) }
        #expect(error?.number == 2)
        #expect(clock.pauses == [.milliseconds(700)])
        #expect(destination.messages.count == 2)
    }

    @Test func aPauseBeyondWhatAClockCanCountIsOneOfDecades() async throws {
        let destination = Scripted(Failure(retryAfter: .seconds(Int64.max)))
        let longest = Duration.seconds(Int64.max)
        #expect(try await destination.sendAfterCommit("m", pause: longest, maximumPause: longest, clock: clock) == 2)
        #expect(clock.pauses == [longest.asWait])
    }

    @Test(arguments: [0, -5, 1]) func atLeastOneAttemptIsMade(attempts: Int) async {
        let destination = Scripted(Failure(), Failure())
        _ = await failure { () throws(Failure) in
            try await destination.sendAfterCommit("m", attempts: attempts, clock: clock)
        }
        #expect(destination.messages.count == 1)
    }

    @Test func cancellingTheTaskEndsThePause() async {
        let task = Mutex<Task<Failure?, Never>?>(nil)
        let clock = NotingClock { task.withLock { $0?.cancel() } }
        let destination = Scripted(Failure(number: 1), Failure(number: 2))
        let gate = AsyncStream<Void>.makeStream()
        let sending = Task { () -> Failure? in
            for await _ in gate.stream { break }
            return await failure { () throws(Failure) in try await destination.sendAfterCommit("m", clock: clock) }
        }
        task.withLock { $0 = sending }
        gate.continuation.finish()
        #expect(await sending.value?.number == 1)
        #expect(destination.messages.count == 1)
    }
}
