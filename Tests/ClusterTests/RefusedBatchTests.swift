import CRdKafka
import KafkaDeliveryTesting
import Testing

@testable import KafkaDelivery

/// A broker refuses a batch as a whole, also where one of its messages is at fault. No good message is called impossible.
@Suite(.timeLimit(.minutes(5)))
struct RefusedBatchTests {
    /// Sends messages to a topic that the producer knows, in one batch.
    private static func sendTogether(
        _ count: Int,
        to topic: String,
        through producer: KafkaProducer,
        refusing error: MockCluster.InjectedError,
        on cluster: TestCluster
    ) async throws -> [Result<KafkaDeliveryReport, KafkaError>] {
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.inject([error], into: .produce)
        return await producer.send(contentsOf: (0..<count).map { KafkaMessage(topic: topic, value: "\($0)") })
    }

    private static func lingering(_ cluster: TestCluster) throws -> KafkaProducer {
        var configuration = cluster.producerConfiguration()
        configuration.linger = .milliseconds(300)
        return try KafkaProducer(configuration, logger: .test)
    }

    private static func failures(_ results: [Result<KafkaDeliveryReport, KafkaError>]) -> [KafkaError] {
        results.compactMap { if case .failure(let error) = $0 { error } else { nil } }
    }

    @Test(
        .enabled(if: TestCluster.isMock, "injects faults"),
        arguments: [MockCluster.InjectedError.invalidRecord, .invalidTimestamp, .messageTooLarge, .corruptMessage]
    )
    func whatWasRefusedWithItsBatchIsToBeSentAgainByItself(_ error: MockCluster.InjectedError) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try Self.lingering(cluster)
        let results = try await Self.sendTogether(10, to: topic, through: producer, refusing: error, on: cluster)
        // Newer versions send a batch that is said to be corrupt again by themselves.
        let failures = Self.failures(results)
        if error != .corruptMessage || LibrdkafkaVersion.current < LibrdkafkaVersion(2, 4, 0) {
            try #require(failures.count == 10)
        }
        for failure in failures {
            #expect(failure.kind == .batchRefused)
            #expect(failure.recovery == .retry)
            #expect(failure.persistence == .notPersisted)
            #expect(failure.reason.contains("10 messages"))
            #expect(failure.reason.contains("maximumBatchBytes") == (error == .messageTooLarge))
        }
        for (number, result) in results.enumerated() {
            guard case .failure = result else { continue }
            _ = try await producer.sendByItself(KafkaMessage(topic: topic, value: "\(number)"))
        }
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 11)
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func theErrorOfAMessageThatTravelledByItselfIsItsOwn() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try Self.lingering(cluster)
        let results = try await Self.sendTogether(
            1,
            to: topic,
            through: producer,
            refusing: .invalidRecord,
            on: cluster
        )
        let failure = try #require(Self.failures(results).first)
        #expect(failure.kind == .invalidArgument)
        #expect(failure.recovery == .fixRequest)
        #expect(failure.code == "INVALID_RECORD")
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatWouldMeetAnyMessageIsSaidOfEach() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try Self.lingering(cluster)
        let refusal = MockCluster.InjectedError.topicAuthorizationFailed
        let results = try await Self.sendTogether(10, to: topic, through: producer, refusing: refusal, on: cluster)
        #expect(Self.failures(results).map(\.kind) == Array(repeating: .authorization, count: 10))
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aTransactionWhoseMessagesWereRefusedTogetherSaysHowToFindTheCulprit() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        configuration.linger = .milliseconds(300)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        try await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "before")) }
        try cluster.mock.inject([.invalidRecord], into: .produce)
        let failure = await kafkaError {
            try await producer.withTransaction { transaction in
                for number in 0..<10 { try await transaction.enqueue(KafkaMessage(topic: topic, value: "\(number)")) }
            }
        }
        #expect(failure?.kind == .batchRefused)
        #expect(failure?.recovery == .fixRequest)
        #expect(failure?.reason.contains("send, one message after the other") == true)
        #expect(failure?.code == "INVALID_RECORD")
        await producer.close()
    }

    /// KIP-467, which librdkafka understands since 2.4.0.
    @Test func whereTheBrokerNamesCulpritsTheirErrorsAreTheirOwn() {
        let others = rd_kafka_resp_err_t(rawValue: -138)
        let batch = RefusedBatch([others, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, others])
        let culprit = batch.error(RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, persistence: .notPersisted)
        #expect((culprit.kind, culprit.recovery) == (.invalidArgument, .fixRequest))
        let other = batch.error(others, persistence: .notPersisted)
        #expect((other.kind, other.recovery) == (.batchRefused, .retry))
    }

    @Test func anUnknownRefusalOfABatchCondemnsNoMessageAndOneOfASingleMessageDoes() {
        let unknown = rd_kafka_resp_err_t(rawValue: 987)
        #expect(RefusedBatch([unknown, unknown]).error(unknown, persistence: .notPersisted).kind == .batchRefused)
        #expect(RefusedBatch([unknown]).error(unknown, persistence: .notPersisted).recovery == .fixRequest)
        let timedOut = RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        #expect(RefusedBatch([timedOut, timedOut]).error(timedOut, persistence: .possiblyPersisted).kind == .timedOut)
    }
}

/// The same with the refusals of a real broker.
@Suite(.enabled(if: !TestCluster.isMock, "takes a real broker's topics"), .timeLimit(.minutes(3)))
struct RefusedBatchOnABrokerTests {
    /// Two senders that know nothing of each other, one of whom sends what a compacted topic does not take.
    @Test func aGoodMessageIsNeverCalledImpossibleForASendersSakeWhoKnowsNothingOfIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(["cleanup.policy": "compact"])
        var configuration = cluster.producerConfiguration()
        configuration.linger = .milliseconds(5)
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, key: "k", value: "before"))
        var refused = 0
        for round in 0..<50 {
            let good = KafkaMessage(topic: topic, key: "k\(round)", value: "good")
            let bad = KafkaMessage(topic: topic, value: "without a key")
            let pendingGood = try await producer.enqueue(good)
            let pendingBad = try await producer.enqueue(bad)
            if case .failure(let error) = await pendingGood.outcome {
                #expect((error.kind, error.recovery) == (.batchRefused, .retry))
                refused += 1
            }
            async let goodReport = producer.report(of: pendingGood, good)
            let culprit = await kafkaError { _ = try await producer.report(of: pendingBad, bad) }
            #expect((culprit?.kind, culprit?.recovery) == (.invalidArgument, .fixRequest))
            _ = try await goodReport
        }
        // Otherwise this has shown nothing.
        #expect(refused > 0)
        await producer.close()
    }

    @Test func ofThousandsOfMessagesOnlyTheOneWithTheWrongTimeFails() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(["message.timestamp.after.max.ms": "3600000"])
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        var messages = (0..<5_000).map { KafkaMessage(topic: topic, value: "\($0)") }
        messages[2_345].timestamp = .earlier.advanced(milliseconds: 10 * 86_400_000)
        var failed: [Int: KafkaError] = [:]
        for (number, result) in await producer.send(contentsOf: messages).enumerated() {
            guard case .failure(let error) = result else { continue }
            if error.kind == .batchRefused {
                do throws(KafkaError) {
                    _ = try await producer.sendByItself(messages[number])
                } catch {
                    failed[number] = error
                }
            } else {
                failed[number] = error
            }
        }
        #expect(failed.keys.sorted() == [2_345])
        #expect(failed[2_345]?.recovery == .fixRequest)
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 4_999)
        await producer.close()
    }

    @Test func batchesAsSmallAsTheTopicsLimitAreTaken() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(["max.message.bytes": "100000"])
        var configuration = cluster.producerConfiguration()
        configuration.maximumBatchBytes = 90_000
        try await withKafkaProducer(configuration, logger: .test) { producer in
            let value = String(repeating: "x", count: 700)
            let messages = (0..<5_000).map { _ in KafkaMessage(topic: topic, value: value) }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        }
    }

    @Test func deadLettersThatAreTooLargeTogetherAreRedrivenAllTheSame() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(["max.message.bytes": "20000"])
        let letters = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let value = String(repeating: "x", count: 1_000)
        let headers: KafkaHeaders = [
            "kafka_dlt-original-topic": KafkaBytes(topic), "kafka_dlt-original-partition": [0, 0, 0, 0],
            "kafka_dlt-original-offset": [0, 0, 0, 0, 0, 0, 0, 9],
        ]
        let messages = (0..<300).map { _ in KafkaMessage(topic: letters, value: value, headers: headers) }
        for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        let configuration = KafkaRedrive.Configuration(bootstrapServers: cluster.bootstrapServers, topic: letters)
        let summary = try await KafkaRedrive(configuration, logger: .test).run(with: producer)
        #expect(summary.redriven == 300)
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 300)
        await producer.close()
    }

    @Test func aTransformationWhoseMessagesAreTooLargeTogetherGoesOn() async throws {
        let cluster = try TestCluster()
        let input = try await cluster.makeTopic()
        let output = try await cluster.makeTopic(["max.message.bytes": "20000"])
        try await cluster.fill(input, count: 300)
        let consumer = try KafkaConsumer(cluster.quickConsumer(input), logger: .test)
        let producer = try cluster.transactionalProducer()
        let running = Task {
            try await consumer.transform(through: producer) { _ in
                [KafkaMessage(topic: output, value: String(repeating: "x", count: 1_000))]
            }
        }
        try await waitUntil { try await Kcat(cluster).committedValues(output).count == 300 }
        await consumer.close()
        try await running.value
        await producer.close()
    }

    @Test func aTransformationNamesTheMessageThatCannotBeSent() async throws {
        let cluster = try TestCluster()
        let input = try await cluster.makeTopic()
        let output = try await cluster.makeTopic(["cleanup.policy": "compact"])
        try await cluster.fill(input, count: 20)
        let consumer = try KafkaConsumer(cluster.quickConsumer(input), logger: .test)
        let producer = try cluster.transactionalProducer()
        let failure = await kafkaError {
            try await consumer.transform(through: producer) { delivery in
                [KafkaMessage(topic: output, key: delivery.text == "13" ? nil : delivery.text, value: "x")]
            }
        }
        #expect((failure?.kind, failure?.recovery) == (.invalidArgument, .fixRequest))
        await consumer.close()
        await producer.close()
    }
}

extension KafkaProducer.PendingDelivery {
    /// The report, or why there is none.
    fileprivate var outcome: Result<KafkaDeliveryReport, KafkaError> {
        get async {
            do throws(KafkaError) {
                return .success(try await report)
            } catch {
                return .failure(error)
            }
        }
    }
}
