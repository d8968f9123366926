import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Each failure gives one error, and the error says rightly whether the message may be stored.
@Suite(.enabled(if: TestCluster.isMock, "injects faults"), .timeLimit(.minutes(5)))
struct SendErrorTests {
    private func failure(
        _ producer: KafkaProducer,
        _ message: KafkaMessage,
        _ comment: Comment? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> KafkaError {
        do {
            let report = try await producer.send(message)
            Issue.record("confirmed at \(report)", sourceLocation: sourceLocation)
            throw TestFailure("the send should have failed")
        } catch let error as KafkaError {
            return error
        }
    }

    @Test func aRetriableErrorIsRetriedAndTheMessageStoredOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try cluster.mock.inject([.notLeaderForPartition, .requestTimedOut, .disconnect], into: .produce)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let report = try await producer.send(KafkaMessage(topic: topic, value: "x"))
            #expect(report.offset == 0)
        }
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 1)
    }

    @Test func anErrorThatIsNotRetriableIsThrownAtOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.idempotence = false
        let producer = try KafkaProducer(configuration, logger: .test)
        try cluster.mock.inject([.topicAuthorizationFailed], into: .produce)
        let error = try await failure(producer, KafkaMessage(topic: topic, value: "x"))
        #expect(error.kind == .authorization)
        #expect(error.recovery == .fixRequest)
        #expect(error.persistence == .notPersisted)
        #expect(error.code == "TOPIC_AUTHORIZATION_FAILED")
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 0)
        await producer.close()
    }

    @Test func aMessageTheBrokerFindsTooLargeIsNotPersisted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try cluster.mock.inject([.messageTooLarge], into: .produce)
        let error = try await failure(producer, KafkaMessage(topic: topic, value: "x"))
        #expect(error.kind == .messageTooLarge)
        #expect(error.persistence == .notPersisted)
        await producer.close(within: .seconds(1))
    }

    @Test func aMessageTheClientFindsTooLargeIsNotPersisted() async throws {
        let cluster = try TestCluster()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let value = [UInt8](repeating: 0, count: 1_000_001)
        let error = try await failure(producer, KafkaMessage(topic: "any", value: value, headers: ["name": "value"]))
        #expect(error.kind == .messageTooLarge)
        #expect(error.recovery == .fixRequest)
        #expect(error.persistence == .notPersisted)
        await producer.close()
    }

    @Test func allBrokersDownThenUpDeliversTheMessage() async throws {
        let cluster = try TestCluster(brokers: 3)
        let topic = try await cluster.makeTopic(replicationFactor: 3)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.takeDown()
        let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "meanwhile"))
        try cluster.mock.bringUp()
        #expect(try await pending.report.offset == 1)
        await producer.close()
    }

    @Test func unreachableBrokersAreNamedWhenTheDeadlinePasses() async throws {
        var configuration = KafkaProducer.Configuration(bootstrapServers: ["127.0.0.1:1"])
        configuration.messageTimeout = .seconds(2)
        let producer = try KafkaProducer(configuration, logger: .test)
        let error = try await failure(producer, KafkaMessage(topic: "any", value: "x"))
        #expect(error.kind == .brokersUnreachable)
        #expect(error.recovery == .retry)
        #expect(error.persistence == .notPersisted)
        #expect(error.code == "_MSG_TIMED_OUT")
        #expect(error.description.contains("127.0.0.1:1"))
        await producer.close()
    }

    @Test func aDeadlineThatPassesInFlightLeavesTheMessagePossiblyPersisted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        // Time enough for the first message on a busy machine.
        configuration.messageTimeout = .seconds(4)
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(30))
        let error = try await failure(producer, KafkaMessage(topic: topic, value: "x"))
        #expect(error.kind == .timedOut)
        #expect(error.persistence == .possiblyPersisted)
        await producer.close(within: .zero)
    }

    @Test func anUnknownPartitionIsNamed() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        // Once before and once after the client knows the topic: librdkafka refuses these at different places.
        for _ in 0..<2 {
            let error = try await failure(producer, KafkaMessage(topic: topic, partition: 7, value: "x"))
            #expect(error.kind == .unknownTopicOrPartition)
            #expect(error.recovery == .fixRequest)
            #expect(error.persistence == .notPersisted)
            try await producer.send(KafkaMessage(topic: topic, value: "x"))
        }
        await producer.close()
    }

    @Test func anUnknownTopicIsNamed() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try cluster.mock.setError(.unknownTopicOrPartition, forTopic: topic)
        var configuration = cluster.producerConfiguration()
        configuration.additionalProperties = ["topic.metadata.propagation.max.ms": "100"]
        let producer = try KafkaProducer(configuration, logger: .test)
        let error = try await failure(producer, KafkaMessage(topic: topic, value: "x"))
        #expect(error.kind == .unknownTopicOrPartition)
        #expect(error.persistence == .notPersisted)
        await producer.close()
    }

    @Test(arguments: [
        KafkaMessage(topic: "", value: "x"), KafkaMessage(topic: "a\0b", value: "x"),
        KafkaMessage(topic: "t", partition: -1, value: "x"), KafkaMessage(topic: "t", partition: 1 << 40, value: "x"),
        KafkaMessage(topic: "t", value: "x", timestamp: KafkaTimestamp(millisecondsSince1970: -5)),
    ])
    func anImpossibleRequestIsRefusedWithAReason(message: KafkaMessage) async throws {
        let cluster = try TestCluster()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let error = try await failure(producer, message)
        #expect(error.kind == .invalidArgument)
        #expect(error.recovery == .fixRequest)
        #expect(error.persistence == .notPersisted)
        await producer.close()
    }

    @Test func cancellingBeforeTheHandOverSendsNothing() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let error = try await cancelled {
            try await producer.send(KafkaMessage(topic: topic, value: "x"))
        }
        #expect(error.kind == .cancelled)
        #expect(error.persistence == .notPersisted)
        #expect(await producer.close() == ConfirmedSendTests.summary())
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 0)
    }

    /// Runs `body` in a task that is cancelled before it begins.
    private func cancelled(
        _ body: @escaping @Sendable () async throws -> KafkaDeliveryReport
    ) async throws -> KafkaError {
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await body()
        }
        do {
            _ = try await task.value
            throw TestFailure("the send should have been cancelled")
        } catch let error as KafkaError {
            return error
        }
    }

    @Test func cancellingAfterTheHandOverEndsTheWaitAtOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(10))
        let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "x"))
        let error = try await cancelled { try await pending.report }
        #expect(error.kind == .cancelled)
        #expect(error.persistence == .possiblyPersisted)
        // The message itself was not recalled: somebody else who waits for it gets its report.
        #expect(try await pending.report.offset == 1)
        await producer.close()
    }

    @Test func aCancelledBatchAccountsForEveryMessage() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(2))
        let started = AsyncStream.makeStream(of: Void.self)
        let task = Task {
            await producer.send(
                contentsOf: (0..<10).lazy.map { number in
                    if number == 9 { started.continuation.yield() }
                    return KafkaMessage(topic: topic, value: "\(number)")
                }
            )
        }
        for await _ in started.stream { break }
        task.cancel()
        let results = await task.value
        #expect(results.count == 10)
        for result in results {
            guard case .failure(let error) = result else { continue }
            #expect(error.kind == .cancelled)
        }
        await producer.close()
    }

    /// librdkafka sends nothing more then, and would keep what is queued until its time-out.
    @Test func afterAFatalErrorWhatIsQueuedWaitsForNoMessageTimeout() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.messageTimeout = .seconds(3_600)
        configuration.additionalProperties["enable.gapless.guarantee"] = "true"
        configuration.additionalProperties["batch.num.messages"] = "1"
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.inject([.invalidRecord], into: .produce)
        let results = await producer.send(contentsOf: (0..<100).map { KafkaMessage(topic: topic, value: "\($0)") })
        #expect(results.count == 100)
        guard case .failure(let last) = results.last else {
            Issue.record("\(results)")
            return
        }
        #expect(last.kind == .fatal)
        #expect(last.recovery == .recreateClient)
        await producer.close()
    }

    @Test func aFailureThatIdempotenceCannotSurviveIsFatalAndSaysSo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        // The broker says that it has never seen what came before: whatever is sent now could be out of order.
        try cluster.mock.inject([.outOfOrderSequence], into: .produce)
        let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "x"))
        do {
            _ = try await pending.report
        } catch {
            #expect(error.kind == .fatal)
            #expect(error.recovery == .recreateClient)
            let next = try await failure(producer, KafkaMessage(topic: topic, value: "y"))
            #expect(next.kind == .fatal)
            #expect(next.persistence == .notPersisted)
        }
        await producer.close()
        // Recreated, it goes on.
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            try await producer.send(KafkaMessage(topic: topic, value: "z"))
        }
    }
}
