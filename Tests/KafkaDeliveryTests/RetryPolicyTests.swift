import KafkaDeliveryTesting
import Testing

@testable import KafkaDelivery

struct RetryPolicyTests {
    private struct Failure: Error {}

    private func delays(_ policy: KafkaRetryPolicy, attempts: Int) -> [Duration?] {
        (1...attempts).map { attempt in
            switch policy.decide(attempt: attempt, error: Failure()) {
            case .retry(let delay): delay
            case .giveUp: nil
            }
        }
    }

    @Test func threeAttemptsASecondTimesTwoAtMostTwoSeconds() {
        let policy = KafkaRetryPolicy.exponential(
            initial: .seconds(1),
            multiplier: 2,
            maximum: .seconds(2),
            maximumAttempts: 3
        )
        #expect(delays(policy, attempts: 3) == [.seconds(1), .seconds(2), nil])
    }

    @Test func delaysGrowUpToTheMaximumAndNoFurther() {
        let policy = KafkaRetryPolicy.exponential(
            initial: .milliseconds(100),
            multiplier: 3,
            maximum: .seconds(1),
            maximumAttempts: nil
        )
        #expect(
            delays(policy, attempts: 5)
                == [.milliseconds(100), .milliseconds(300), .milliseconds(900), .seconds(1), .seconds(1)]
        )
        #expect(policy.delay(after: .max) == .seconds(1))
        #expect(policy.delay(after: .min) == .milliseconds(100))
    }

    @Test func noMultiplierIsTooLarge() {
        for multiplier in [1e30, 1e300, .greatestFiniteMagnitude] {
            let policy = KafkaRetryPolicy.exponential(
                initial: .seconds(1),
                multiplier: multiplier,
                maximum: .seconds(7),
                maximumAttempts: nil
            )
            #expect(policy.delay(after: 1) == .seconds(1))
            #expect(policy.delay(after: 2) == .seconds(7))
            #expect(policy.delay(after: Int.max) == .seconds(7))
        }
    }

    @Test func oneAttemptIsOneAttempt() {
        #expect(delays(.none, attempts: 2) == [nil, nil])
        #expect(delays(.fixed(.seconds(3), maximumAttempts: 2), attempts: 2) == [.seconds(3), nil])
        #expect(
            delays(.fixed(.seconds(3), maximumAttempts: nil), attempts: 100)
                == Array(repeating: .seconds(3), count: 100)
        )
    }

    @Test func nonsenseSettingsAreBroughtIntoRange() {
        let policy = KafkaRetryPolicy.exponential(
            initial: .seconds(-1),
            multiplier: .nan,
            maximum: .seconds(-5),
            maximumAttempts: -3
        )
        #expect(delays(policy, attempts: 1) == [nil])
        #expect(policy.delay(after: 7) == .zero)
    }

    @Test func anErrorMayAskForItsOwnDelayOrForNone() {
        var policy = KafkaRetryPolicy.fixed(.seconds(1), maximumAttempts: nil)
        policy.delayForError = { $0 is Failure ? .seconds(42) : nil }
        #expect(policy.decide(attempt: 1, error: Failure()) == .retry(after: .seconds(42)))
        #expect(policy.decide(attempt: 1, error: CancellationError()) == .retry(after: .seconds(1)))
        policy.isWorthRetrying = { !($0 is Failure) }
        #expect(policy.decide(attempt: 1, error: Failure()) == .giveUp)
        #expect(policy.decide(attempt: 1, error: KafkaDecodingError(Int.self, underlying: nil)) == .giveUp)
    }

    @Test func jitterStaysWithinItsBounds() {
        var policy = KafkaRetryPolicy.fixed(.seconds(10), maximumAttempts: nil)
        policy.jitter = 0.2
        var random = SeededGenerator(seed: 1)
        var seen: Set<Duration> = []
        for _ in 0..<1_000 {
            guard case .retry(let delay) = policy.decide(attempt: 1, error: Failure(), using: &random) else {
                Issue.record("gave up")
                return
            }
            #expect(delay >= .seconds(8) && delay <= .seconds(12))
            seen.insert(delay)
        }
        #expect(seen.count > 100)
    }
}
