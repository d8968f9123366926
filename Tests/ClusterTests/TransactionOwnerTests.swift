import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Who may use a producer, and until when.
@Suite(.timeLimit(.minutes(5)))
struct TransactionOwnerTests {
    @Test func closingInsideOfATransactionAbortsIt() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let error = await #expect(throws: KafkaError.self) {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "closed"))
                let summary = await producer.close()
                #expect(summary == KafkaCloseSummary(failed: 1))
                #expect(await producer.close() == summary, "closing again says the same")
                let inside = await kafkaError {
                    try await transaction.enqueue(KafkaMessage(topic: topic, value: "late"))
                }
                #expect(inside?.kind == .closed)
            }
        }
        #expect(error?.kind == .closed)
        #expect(error?.persistence == .notPersisted)
        if !TestCluster.isMock { #expect(try await Kcat(cluster).committedValues(topic) == []) }
    }

    /// The mock cluster does not fence: there the error is injected, see ``TransactionFaultTests``.
    @Test(.enabled(if: !TestCluster.isMock, "needs a coordinator that fences"))
    func ofTwoProducersWithOneTransactionalIDTheOlderIsFencedAndSaysSo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let name = TestCluster.uniqueName()
        let older = try cluster.transactionalProducer(name)
        let newer = try cluster.transactionalProducer(name)
        func send(_ text: String, through producer: KafkaTransactionalProducer) async throws {
            try await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: text)) }
        }
        try await send("older", through: older)
        try await send("newer", through: newer)
        for _ in 0..<2 {
            let error = await #expect(throws: KafkaError.self) { try await send("fenced", through: older) }
            #expect(error?.kind == .fenced)
            #expect(error?.recovery == .recreateClient)
        }
        try await send("newer again", through: newer)
        try await older.recreate()
        try await send("older again", through: older)
        let error = await #expect(throws: KafkaError.self) { try await send("fenced", through: newer) }
        #expect(error?.kind == .fenced)
        let values = try await Kcat(cluster).committedValues(topic)
        #expect(values == ["older", "newer", "newer again", "older again"])
        await older.close()
        await newer.close()
    }

    @Test(.enabled(if: !TestCluster.isMock, "needs a coordinator that ends what was left open"))
    func whatADroppedProducerLeftOpenIsEndedByTheNextWithItsID() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let name = TestCluster.uniqueName()
        let left = Shared<KafkaTransactionalProducer?>(try cluster.transactionalProducer(name))
        // A task that never returns from its transaction.
        let isInside = Shared(false)
        let task = Task {
            try await left.value?.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "left open"))
                isInside.change { $0 = true }
                try await Shared(false).wait { $0 }
            }
        }
        try await isInside.wait { $0 }
        let next = try cluster.transactionalProducer(name)
        try await next.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "next")) }
        // Readers of committed messages are not held up by what was left open.
        #expect(try await Kcat(cluster).committedValues(topic) == ["next"])
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        await next.close()
    }

    /// A coordinator looks for what is too old every ten seconds.
    @Test(
        .enabled(if: !TestCluster.isMock, "needs a coordinator that ends what takes too long"),
        arguments: [false, true]
    )
    func aTransactionThatTheCoordinatorEndedForItsAgeSaysSoTheFirstTime(isFoundOutBySending: Bool) async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        // Enough for a busy broker to store a message, also in the transaction after it.
        configuration.transactionTimeout = .seconds(8)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let error = await kafkaError {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "late"))
                // Readers of committed messages get what comes behind it when it has ended.
                let plain = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
                try await plain.send(KafkaMessage(topic: topic, value: "plain"))
                await plain.close()
                var reading = cluster.quickConsumer(topic)
                reading.isolation = .readCommitted
                try await withKafkaConsumer(reading, logger: .test) { consumer in
                    let text = try await consumer.take(1)[0].text
                    #expect(text == "plain")
                }
                if isFoundOutBySending {
                    try await transaction.send(KafkaMessage(topic: topic, value: "later"))
                }
            }
        }
        #expect(error?.kind == .fenced)
        #expect(error?.recovery == .recreateClient)
        #expect(error?.persistence == .notPersisted)
        #expect(error?.reason.contains("transactionTimeout") == true, "\(error as Any)")
        let later = await kafkaError { try await producer.withTransaction { _ in } }
        #expect(later?.kind == error?.kind)
        #expect(later?.recovery == error?.recovery)
        try await producer.recreate()
        try await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "next")) }
        #expect(try await Kcat(cluster).committedValues(topic) == ["plain", "next"])
        await producer.close()
    }

    @Test(.enabled(if: !TestCluster.isMock, "needs a coordinator that ends what takes too long"))
    func aTransactionThatTakesTooLongIsNotCommitted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        // Enough for a busy broker to store a message, also in the transaction after it.
        configuration.transactionTimeout = .seconds(8)
        let timeout = configuration.transactionTimeout
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        let error = await kafkaError {
            try await producer.withTransaction { transaction in
                let start = ContinuousClock.now
                try await transaction.send(KafkaMessage(topic: topic, value: "late"))
                try await waitUntil { start.duration(to: .now) > timeout }
            }
        }
        #expect(error?.persistence == .notPersisted)
        switch error?.recovery {
        // The abort was quicker than the coordinator.
        case .retry: #expect(error?.kind == .timedOut)
        case .recreateClient:
            #expect(error?.kind == .fenced)
            try await producer.recreate()
        default: Issue.record("\(error as Any)")
        }
        try await producer.withTransaction { try await $0.enqueue(KafkaMessage(topic: topic, value: "next")) }
        #expect(try await Kcat(cluster).committedValues(topic) == ["next"])
        await producer.close()
    }
}
