import KafkaDeliveryTesting
import Testing

@testable import KafkaDelivery

/// A network that fails in the middle of a transaction: in the end each is committed once or not at all, and whoever asked
/// for it is told which, or that nobody knows.
@Suite(.timeLimit(.minutes(5)))
struct TransactionNetworkTests {
    /// Topics, and a producer and a consumer of which the producer's connections go through a relay.
    private struct Fixture {
        let cluster: TestCluster
        let relay: FaultRelay
        let input: String
        let output: String
        let group: String
        let consumer: KafkaConsumer
        let producer: KafkaTransactionalProducer

        init(
            operationTimeout: Duration,
            properties: [String: String] = ["reconnect.backoff.ms": "10", "reconnect.backoff.max.ms": "100"],
            name: String = #function
        ) async throws {
            cluster = try TestCluster(checksSequences: true)
            relay = try FaultRelay(seed: 1)
            input = try await cluster.makeTopic(name: name + "in")
            output = try await cluster.makeTopic(name: name + "out")
            try await cluster.fill(input, count: 20)
            var configuration = cluster.transactionalConfiguration()
            configuration.operationTimeout = operationTimeout
            for (name, value) in properties { configuration.additionalProperties[name] = value }
            relay.route(&configuration)
            producer = try KafkaTransactionalProducer(configuration, logger: .test)
            let settings = cluster.quickConsumer(input)
            group = settings.group
            consumer = try KafkaConsumer(settings, logger: .test)
            // Connects, and finds the topic.
            try await send("before")
        }

        func send(_ value: String) async throws {
            try await producer.withTransaction { transaction in
                try await transaction.enqueue(KafkaMessage(topic: output, value: KafkaBytes(value)))
            }
        }

        /// Copies deliveries in one transaction. They are confirmed before it is committed.
        func copy(
            _ deliveries: [KafkaConsumer.Delivery],
            beforeCommit: () async throws -> Void = {}
        ) async throws {
            try await producer.withTransaction { transaction in
                for delivery in deliveries {
                    try await transaction.send(KafkaMessage(topic: output, value: delivery.value))
                }
                try transaction.acknowledge(deliveries, from: consumer)
                try await beforeCommit()
            }
        }

        func values() async throws -> [String] { try await Kcat(cluster).committedValues(output) }

        func close() async {
            await producer.close()
            await consumer.close()
            await relay.shutdown()
        }
    }

    /// librdkafka 2.0.2 gives the sequence numbers of such a message again, and a broker takes what comes with them for a
    /// repetition of what it has: it confirms the message and does not store it.
    @Test func aMessageThatWasStoredAndAbortedDoesNotStandInForTheNextOne() async throws {
        let fixture = try await Fixture(
            operationTimeout: .seconds(10),
            // Long enough that the message waits for its repetition when the transaction is aborted.
            properties: ["reconnect.backoff.ms": "1000", "reconnect.backoff.max.ms": "1000"]
        )
        let relay = fixture.relay
        await #expect(throws: Regret.self) {
            try await fixture.producer.withTransaction { transaction in
                relay.faults.responseLoss = .init(probability: 1)
                try await transaction.enqueue(KafkaMessage(topic: fixture.output, value: "aborted"))
                try await waitUntil { relay.statistics.cuts > 0 }
                relay.faults = .init()
                throw Regret()
            }
        }
        try await fixture.send("next")
        #expect(try await fixture.values().filter { $0 != "aborted" } == ["before", "next"])
        await fixture.close()
    }

    @Test func aCommitIntoABlackHoleIsUnknownAndFoundOut() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(10))
        let deliveries = try await fixture.consumer.take(10)
        let error = await expectWithin(.seconds(40)) {
            await kafkaError {
                try await fixture.copy(deliveries) {
                    // The offsets still pass; what nobody answers is the commit.
                    fixture.relay.faults.responseLoss = .init(probability: 1, kinds: [.endTransaction], cutsAfter: nil)
                }
            }
        }
        #expect(error?.kind == .transactionOutcomeUnknown)
        #expect(error?.persistence == .possiblyPersisted)
        #expect(error?.recovery == .retry)
        fixture.relay.faults = .init()
        try await fixture.producer.initialize()
        // The mock cluster's group knows nothing of what was committed.
        let next = try await fixture.consumer.take(10)
        #expect(next.first?.offset == (TestCluster.isMock ? 0 : 10))
        try await fixture.copy(next)
        if !TestCluster.isMock {
            #expect(try await fixture.values() == ["before"] + (0..<20).map(String.init))
            #expect(try await GroupOffsets(fixture.cluster, fixture.group).committed(fixture.input) == 20)
        }
        await fixture.close()
    }

    /// Were the commit called again when its time is over, librdkafka would take this answer for one to an abort, and end
    /// the process.
    @Test func theAnswerToACommitMayComeWhenNobodyWaitsAnyMore() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(20))
        let core = try await fixture.producer.core.ready()
        let client = try #require(core.client)
        #expect(client.beginTransaction() == nil)
        let pending = try await core.enqueue(KafkaMessage(topic: fixture.output, value: "late"))
        _ = try await pending.report
        fixture.relay.faults.responses.delay = .milliseconds(700)
        let end = TransactionEnd(
            client: client,
            claims: TransactionClaims(),
            marks: [],
            deadline: .now.advanced(by: .milliseconds(300))
        )
        let outcome = await BlockingCall.run("commit", until: .now.advanced(by: .seconds(20))) { end.run() }
        guard case .unknown = outcome else { throw TestFailure("\(outcome as Any) is not unknown") }
        // The answer is taken for what it is: the commit that is asked for again is found done.
        let failure = await BlockingCall.run("commit again", until: .now.advanced(by: .seconds(20))) {
            client.commitTransaction(within: .seconds(15))?.error.reason ?? "none"
        }
        #expect(failure == "none")
        #expect(try await fixture.values() == ["before", "late"])
        await fixture.close()
    }

    @Test func aCommitForWhichThereIsNoTimeLeftIsNotSent() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(20))
        let core = try await fixture.producer.core.ready()
        let client = try #require(core.client)
        #expect(client.beginTransaction() == nil)
        let end = TransactionEnd(
            client: client,
            claims: TransactionClaims(),
            marks: [],
            deadline: .now.advanced(by: .milliseconds(-1)),
            leastTime: .milliseconds(100)
        )
        let outcome = await BlockingCall.run("commit", until: .now.advanced(by: .seconds(20))) { end.run() }
        guard case .toBeAborted(let error, isCommitSent: false) = outcome else {
            throw TestFailure("\(outcome as Any) is not certain")
        }
        #expect(error.persistence == .notPersisted && error.recovery == .retry)
        let failure = await BlockingCall.run("abort", until: .now.advanced(by: .seconds(20))) {
            client.abortTransaction(within: .seconds(15))?.error.reason ?? "none"
        }
        #expect(failure == "none")
        await fixture.close()
    }

    @Test func aTransactionThatMeetsABlackHoleBeforeItsCommitIsDoneAgain() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(10))
        let deliveries = try await fixture.consumer.take(10)
        let error = await expectWithin(.seconds(40)) {
            await kafkaError {
                try await fixture.copy(deliveries) {
                    fixture.relay.faults.requests.isBlackHole = true
                }
            }
        }
        #expect(error?.persistence == .notPersisted)
        #expect(error?.recovery == .retry)
        fixture.relay.faults = .init()
        let again = try await fixture.consumer.take(10)
        #expect(again.map(\.offset) == (0..<10).map { Int64($0) })
        #expect(again.allSatisfy { $0.attempt == 2 })
        try await waitUntil { await kafkaError { try await fixture.copy(again) } == nil }
        if !TestCluster.isMock {
            #expect(try await fixture.values() == ["before"] + (0..<10).map(String.init))
            #expect(try await GroupOffsets(fixture.cluster, fixture.group).committed(fixture.input) == 10)
        }
        await fixture.close()
    }

    @Test func aCommitWhoseAnswerIsCutOffIsRepeatedAndCountsOnce() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(20))
        let deliveries = try await fixture.consumer.take(10)
        let relay = fixture.relay
        let losses = Task {
            try await waitUntil { relay.statistics.lostResponses > 0 }
            relay.faults = .init()
        }
        try await fixture.copy(deliveries) {
            relay.faults.responseLoss = .init(probability: 1, kinds: [.endTransaction])
        }
        try await losses.value
        #expect(try await fixture.values() == ["before"] + (0..<10).map(String.init))
        if !TestCluster.isMock {
            #expect(try await GroupOffsets(fixture.cluster, fixture.group).committed(fixture.input) == 10)
        }
        await fixture.close()
    }

    /// A producer whose only broker's connections are cut goes on when there are new ones. librdkafka 2.16 forgets the broker
    /// then, unless it is told not to, and may hear nothing until the operation's time is over.
    @Test func connectionsThatAreCutBeforeACommitDoNotCostTheWholeTimeOfTheOperation() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(60))
        for round in 0..<10 {
            let deliveries = try await fixture.consumer.take(1)
            try await expectWithin(.seconds(30)) {
                try await fixture.copy(deliveries) { fixture.relay.cutConnections() }
            }
            #expect(deliveries.first?.offset == Int64(round))
        }
        #expect(try await fixture.values() == ["before"] + (0..<10).map(String.init))
        await fixture.close()
    }

    @Test func aSlowNetworkOnlyTakesLonger() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(20))
        fixture.relay.faults.requests.bytesPerSecond = 2_000
        fixture.relay.faults.responses.delay = .milliseconds(50)
        let deliveries = try await fixture.consumer.take(20)
        try await fixture.producer.withTransaction { transaction in
            for delivery in deliveries {
                try await transaction.enqueue(KafkaMessage(topic: fixture.output, value: delivery.value))
            }
            try transaction.acknowledge(deliveries, from: fixture.consumer)
        }
        #expect(try await fixture.values() == ["before"] + (0..<20).map(String.init))
        await fixture.close()
    }

    /// The coordinator takes whoever initialises last. So what nobody waits for any more must not go on in the background.
    @Test func anInitialisationThatWasCancelledDoesNotFenceTheNextOne() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let relay = try FaultRelay(seed: 1)
        var configuration = cluster.transactionalConfiguration()
        relay.route(&configuration)
        for _ in 0..<5 {
            let producer = try KafkaTransactionalProducer(configuration, logger: .test)
            relay.faults.responses.delay = .milliseconds(200)
            let connections = relay.statistics.connections
            let task = Task { try await producer.initialize() }
            try await waitUntil { relay.statistics.connections > connections }
            task.cancel()
            let error = await kafkaError { try await task.value }
            // Where this task was held up, it may be over already.
            #expect(error == nil || error?.kind == .cancelled)
            relay.faults = .init()
            for value in ["a", "b"] {
                try await producer.withTransaction { transaction in
                    try await transaction.send(KafkaMessage(topic: topic, value: KafkaBytes(value)))
                }
            }
            await producer.close()
        }
        #expect(try await Kcat(cluster).committedValues(topic).count == 10)
        await relay.shutdown()
    }

    /// What librdkafka still tries in the background ends with its client, and nothing else ends it.
    @Test func aClientIsDestroyedWhenItsProducerIsClosedOrMadeAnew() async throws {
        let cluster = try TestCluster()
        let producer = try KafkaTransactionalProducer(cluster.transactionalConfiguration(), logger: .test)
        let first = try await producer.core.ready().clientEnd
        try await producer.recreate()
        #expect(await first.wait(until: .now.advanced(by: .seconds(30))))
        let second = try await producer.core.ready().clientEnd
        #expect(second !== first)
        await producer.close()
        #expect(await second.wait(until: .now.advanced(by: .seconds(30))))
        // Not before: it is used up to here.
        withExtendedLifetime(producer) {}
    }

    @Test func aConsumerIsNotHeldUpByATransactionThatNobodyWillFindOutAbout() async throws {
        let fixture = try await Fixture(operationTimeout: .seconds(10))
        let error = await kafkaError {
            try await fixture.copy(try await fixture.consumer.take(10)) {
                fixture.relay.faults.responseLoss = .init(probability: 1, kinds: [.endTransaction], cutsAfter: nil)
            }
        }
        #expect(error?.kind == .transactionOutcomeUnknown)
        await fixture.producer.close(within: .seconds(1))
        let start = ContinuousClock.now
        await fixture.consumer.close(within: .seconds(30))
        #expect(start.duration(to: .now) < .seconds(20))
        await fixture.relay.shutdown()
    }
}
