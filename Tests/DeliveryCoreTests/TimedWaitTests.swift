import Testing

@testable import DeliveryCore

/// A task waits for a value until some time, however far off that is.
struct TimedWaitTests {
    static let longest: [Duration] = [
        .seconds(Int64.max), .seconds(Int64.max) + .seconds(Int64.max), Duration(attoseconds: .max),
    ]

    @Test(arguments: longest) func aWaitHoweverLongIsOneThatCanBeSleptFor(wait: Duration) async throws {
        #expect(wait.asWait == .seconds(1_000_000_000))
        let sleeping = Task { try await Task.sleep(until: .after(wait), clock: .continuous) }
        // The sleep has begun, or begins cancelled: either way it must not trap.
        await Task.yield()
        sleeping.cancel()
        await #expect(throws: CancellationError.self) { try await sleeping.value }
    }

    @Test(arguments: [Duration.zero, .seconds(-1), .seconds(Int64.min), Duration(attoseconds: .min)])
    func aWaitBelowZeroIsNone(wait: Duration) {
        #expect(wait.asWait == .zero)
        #expect(ContinuousClock.Instant.after(wait) <= .now)
    }

    @Test func aDeadlineThatCanBeSleptUntilIsKept() {
        let deadline = ContinuousClock.now.advanced(by: .seconds(86_400))
        #expect(deadline.asDeadline == deadline)
        #expect(ContinuousClock.now.advanced(by: .seconds(-5)).asDeadline < .now)
    }

    @Test func aValueEndsAWaitWhoseDeadlineIsBeyondWhatCanBeSleptFor() async {
        let wait = TimedWait<Int>()
        let deadline = ContinuousClock.now.advanced(by: .seconds(Int64.max))
        let value = await wait.value(until: deadline) {
            Task {
                // The timer has had its turns to begin.
                for _ in 0..<100 { await Task.yield() }
                wait.resume(7)
            }
        }
        #expect(value == 7)
    }

    @Test func aDeadlineThatIsOverEndsTheWait() async {
        #expect(await TimedWait<Int>().value(until: .now) == nil)
    }

    @Test func cancellingTheTaskEndsAWaitWithoutAnEnd() async {
        let wait = TimedWait<Int>()
        let begun = AsyncStream<Void>.makeStream()
        let task = Task {
            await wait.value(until: .after(.seconds(Int64.max)), isCancellable: true) { begun.continuation.finish() }
        }
        for await _ in begun.stream {}
        task.cancel()
        #expect(await task.value == nil)
    }
}
