import CRdKafka
import Testing

@testable import KafkaDelivery

/// What a user of the library makes by hand, for tests and for destinations of their own.
struct KafkaErrorTests {
    private struct Cause: Error {}

    private struct Refusing: Destination {
        func send(_ message: KafkaMessage) async throws(KafkaError) -> KafkaDeliveryReport {
            guard message.topic == "orders" else {
                throw KafkaError(
                    .unknownTopicOrPartition,
                    persistence: .notPersisted,
                    recovery: .fixRequest,
                    reason: "\(message.topic) does not exist",
                    underlyingError: Cause()
                )
            }
            return KafkaDeliveryReport(topic: message.topic, partition: 1, offset: 7)
        }

        func send(
            contentsOf messages: some Sequence<KafkaMessage>
        ) async -> [Result<KafkaDeliveryReport, KafkaError>] {
            var results: [Result<KafkaDeliveryReport, KafkaError>] = []
            for message in messages {
                do { results.append(.success(try await send(message))) } catch { results.append(.failure(error)) }
            }
            return results
        }
    }

    @Test func aDestinationOfATestAnswersWithReportsAndErrorsOfItsOwn() async throws {
        let destination: some Destination<KafkaMessage> = Refusing()
        #expect(try await Refusing().send(KafkaMessage(topic: "orders", value: "x")).hasOffset)
        let results = await destination.send(contentsOf: [KafkaMessage(topic: "nowhere", value: "x")])
        guard case .failure(let error) = results.first else { throw Cause() }
        #expect(error.persistence == .notPersisted)
        #expect(error.reason == "nowhere does not exist")
    }

    @Test func theErrorBehindItIsCarriedAndNeitherPrintedNorCompared() {
        let bare = KafkaError(.timedOut, persistence: .possiblyPersisted, recovery: .retry, reason: "too late")
        let caused = KafkaError(
            .timedOut,
            persistence: .possiblyPersisted,
            recovery: .retry,
            reason: "too late",
            underlyingError: Cause()
        )
        #expect(caused.underlyingError is Cause)
        #expect(bare == caused)
        #expect(Set([bare, caused]).count == 1)
        #expect(caused.description == "Try again later: too late. The message may be stored.")
    }

    @Test func kindsAreComparedInASwitchAndHaveNames() {
        func isTransient(_ kind: KafkaError.Kind) -> Bool {
            switch kind {
            case .timedOut, .brokersUnreachable: true
            default: false
            }
        }
        #expect(isTransient(.timedOut))
        #expect(!isTransient(.fenced))
        #expect("\(KafkaError.Kind.transactionOutcomeUnknown)" == "transactionOutcomeUnknown")
    }

    /// Either is what initialising ends with: the coordinator's answer, or that the time is over before librdkafka asks again.
    @Test(arguments: [RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, RD_KAFKA_RESP_ERR__TIMED_OUT])
    func aProducerWhoseEarlierTransactionIsStillBeingEndedIsToldToTryAgain(code: rd_kafka_resp_err_t) {
        let error = KafkaError(code).explaining("the producer cannot be initialised", persistence: .notPersisted)
        #expect(error.recovery == .retry)
        #expect(error.persistence == .notPersisted)
        #expect(error.code == String(cString: rd_kafka_err2name(code)))
    }

    @Test func aCloseSummaryIsCleanOnlyWhereNothingFailedOrIsInDoubt() {
        #expect(KafkaCloseSummary(delivered: 3, leftGroup: true).isClean)
        for summary in [
            KafkaCloseSummary(failed: 1), KafkaCloseSummary(unknown: 1), KafkaCloseSummary(unsettled: 1),
            KafkaCloseSummary(lateVerdicts: 1),
            KafkaCloseSummary(uncommitted: [KafkaTopicPartition(topic: "t", partition: 0): 2]),
        ] {
            #expect(!summary.isClean)
        }
    }
}
