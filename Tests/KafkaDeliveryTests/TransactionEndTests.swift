import Testing

@testable import KafkaDelivery

struct TransactionEndTests {
    /// A commit that is called with no time to answer in makes librdkafka end the process when the coordinator answers.
    @Test(arguments: [Duration.zero, .microseconds(600), .milliseconds(999), .seconds(10)])
    func aCommitThatTimedOutIsNotCalledAgain(remaining: Duration) {
        let failure = failure("_TIMED_OUT", .timedOut)
        #expect(!TransactionEnd.isRepeated(failure, remaining: remaining))
    }

    @Test(arguments: [
        (Duration.zero, false), (.microseconds(600), false), (.milliseconds(999), false), (.seconds(1), true),
        (.seconds(10), true),
    ])
    func aCommitThatMayBeRepeatedIsCalledAgainWithTimeToAnswer(remaining: Duration, isRepeated: Bool) {
        let failure = failure("_STATE", .client)
        #expect(TransactionEnd.isRepeated(failure, remaining: remaining) == isRepeated)
    }

    private func failure(_ code: String, _ kind: KafkaError.Kind) -> RdKafkaClient.TransactionFailure {
        RdKafkaClient.TransactionFailure(
            error: KafkaError(kind, recovery: .retry, reason: "not now", code: code),
            remedy: .repeatCall
        )
    }
}
