import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A transaction is stored as a whole or not at all, and whoever asked for it is told which.
@Suite(.timeLimit(.minutes(5)))
struct TransactionTests {
    @Test func whatIsSentInATransactionIsStoredWhenItReturns() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let answer = try await producer.withTransaction { transaction in
            for number in 0..<100 { try await transaction.enqueue(KafkaMessage(topic: topic, value: "\(number)")) }
            return "done"
        }
        #expect(answer == "done")
        #expect(try await Kcat(cluster).committedValues(topic) == (0..<100).map(String.init))
        await producer.close()
    }

    @Test func whatAnAbortedTransactionSentIsNotReadByReadersOfCommittedMessages() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        await #expect(throws: Regret.self) {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "regretted"))
                throw Regret()
            }
        }
        try await producer.withTransaction { transaction in
            try await transaction.enqueue(KafkaMessage(topic: topic, value: "meant"))
        }
        let values = try await Kcat(cluster).committedValues(topic)
        // The mock cluster does not hide what was aborted.
        #expect(values == (TestCluster.isMock ? ["regretted", "meant"] : ["meant"]))
        await producer.close()
    }

    @Test func whatAnAbortedTransactionHadNotSentYetIsNeverStored() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.transactionalConfiguration()
        configuration.linger = .seconds(30)
        let producer = try KafkaTransactionalProducer(configuration, logger: .test)
        await #expect(throws: Regret.self) {
            try await producer.withTransaction { transaction in
                try await transaction.enqueue(KafkaMessage(topic: topic, value: "lingers"))
                throw Regret()
            }
        }
        try await producer.withTransaction { transaction in
            try await transaction.enqueue(KafkaMessage(topic: topic, value: "meant"))
        }
        #expect(try await Kcat(cluster).committedValues(topic) == ["meant"])
        await producer.close()
    }

    @Test func aConfirmedSendTellsItsOffsetInside() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        try await producer.withTransaction { transaction in
            let first = try await transaction.send(KafkaMessage(topic: topic, value: "a"))
            let second = try await transaction.send(KafkaMessage(topic: topic, value: "b"))
            #expect(first.offset == 0)
            #expect(second.offset == 1)
        }
        await producer.close()
    }

    @Test func codeThatSendsToADestinationSendsInATransaction() async throws {
        func record(_ values: [String], to destination: some Destination<KafkaMessage>, _ topic: String) async throws
            -> Int
        {
            let results = await destination.send(
                contentsOf: values.map { KafkaMessage(topic: topic, value: KafkaBytes($0)) }
            )
            for result in results { _ = try result.get() }
            return results.count
        }
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let count = try await producer.withTransaction { transaction in
            try await record(["a", "b"], to: transaction, topic)
        }
        #expect(count == 2)
        #expect(await producer.close() == KafkaCloseSummary(), "nothing was in progress")
        #expect(try await Kcat(cluster).committedValues(topic) == ["a", "b"])
    }

    @Test func cancellationInsideAborts() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let isInside = Shared(false)
        let task = Task {
            try await producer.withTransaction { transaction in
                try await transaction.send(KafkaMessage(topic: topic, value: "cancelled"))
                isInside.change { $0 = true }
                // Ignores being cancelled, as code may.
                try? await Shared(false).wait { $0 }
            }
        }
        try await isInside.wait { $0 }
        task.cancel()
        let error = await #expect(throws: KafkaError.self) { try await task.value }
        #expect(error?.kind == .cancelled)
        #expect(error?.persistence == .notPersisted)
        try await producer.withTransaction { transaction in
            try await transaction.enqueue(KafkaMessage(topic: topic, value: "next"))
        }
        let values = try await Kcat(cluster).committedValues(topic)
        #expect(values == (TestCluster.isMock ? ["cancelled", "next"] : ["next"]))
        await producer.close()
    }

    @Test func aTransactionInsideOfATransactionIsRefused() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        try await producer.withTransaction { transaction in
            let error = await #expect(throws: KafkaError.self) { try await producer.withTransaction { _ in } }
            #expect(error?.kind == .invalidArgument)
            // A task inside of it would wait for ever too.
            let child = Task { try await producer.withTransaction { _ in } }
            await #expect(throws: KafkaError.self) { try await child.value }
            await #expect(throws: KafkaError.self) { try await producer.initialize() }
            await #expect(throws: KafkaError.self) { try await producer.recreate() }
            // And the transaction is none the worse for it.
            try await transaction.enqueue(KafkaMessage(topic: topic, value: "x"))
        }
        #expect(try await Kcat(cluster).committedValues(topic) == ["x"])
        await producer.close()
    }

    @Test func transactionsOfSeveralTasksComeOneAfterTheOther() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let inside = Shared(0)
        try await withThrowingTaskGroup { group in
            for number in 0..<10 {
                group.addTask {
                    try await producer.withTransaction { transaction in
                        let count = inside.change { count in
                            count += 1
                            return count
                        }
                        #expect(count == 1)
                        for _ in 0..<5 { try await transaction.enqueue(KafkaMessage(topic: topic, value: "\(number)")) }
                        inside.change { $0 -= 1 }
                    }
                }
            }
            try await group.waitForAll()
        }
        let values = try await Kcat(cluster).committedValues(topic)
        #expect(values.count == 50)
        for first in stride(from: 0, to: 50, by: 5) { #expect(Set(values[first..<first + 5]).count == 1) }
        await producer.close()
    }

    @Test func aTaskThatWaitsForItsTurnCanBeCancelled() async throws {
        let cluster = try TestCluster()
        let producer = try cluster.transactionalProducer()
        let waiting = Shared<Task<Void, any Error>?>(nil)
        try await producer.withTransaction { _ in
            // Detached, so that it is not inside.
            let task = Task.detached { try await producer.withTransaction { _ in Issue.record("had a turn") } }
            task.cancel()
            let error = await #expect(throws: KafkaError.self) { try await task.value }
            #expect(error?.kind == .cancelled)
            waiting.change { $0 = Task.detached { try await producer.withTransaction { _ in } } }
        }
        try await waiting.value?.value
        await producer.close()
    }

    @Test func aTransactionThatHasEndedSaysSo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let producer = try cluster.transactionalProducer()
        let (transaction, pending) = try await producer.withTransaction { transaction in
            (transaction, try await transaction.send(KafkaMessage(topic: topic, value: "x")))
        }
        #expect(pending.offset == 1)
        for isConfirmed in [false, true] {
            let error = await #expect(throws: KafkaError.self) {
                let message = KafkaMessage(topic: topic, value: "late")
                if isConfirmed {
                    try await transaction.send(message)
                } else {
                    try await transaction.enqueue(message)
                }
            }
            #expect(error?.kind == .invalidArgument)
            #expect(error?.persistence == .notPersisted)
        }
        try await withKafkaConsumer(cluster.quickConsumer(topic), logger: .test) { consumer in
            let delivery = try await consumer.take(1)[0]
            let error = #expect(throws: KafkaError.self) { try transaction.acknowledge(delivery, from: consumer) }
            #expect(error?.kind == .invalidArgument)
            delivery.acknowledge()
        }
        // Nor does it reach into the next one.
        try await producer.withTransaction { _ in
            await #expect(throws: KafkaError.self) {
                try await transaction.enqueue(KafkaMessage(topic: topic, value: "late"))
            }
        }
        #expect(try await Kcat(cluster).committedValues(topic) == ["0", "x"])
        await producer.close()
    }

    @Test func aMessageThatFailsMakesTheCommitFail() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        let error = await #expect(throws: KafkaError.self) {
            try await producer.withTransaction { transaction in
                try await transaction.enqueue(KafkaMessage(topic: topic, value: "fine"))
                // There is no such partition.
                try await transaction.enqueue(KafkaMessage(topic: topic, partition: 7, value: "not"))
            }
        }
        #expect(error?.kind == .unknownTopicOrPartition)
        #expect(error?.persistence == .notPersisted)
        #expect(error?.recovery == .fixRequest)
        try await producer.withTransaction { transaction in
            try await transaction.enqueue(KafkaMessage(topic: topic, value: "next"))
        }
        #expect(try await Kcat(cluster).committedValues(topic).last == "next")
        await producer.close()
    }

    @Test func anEmptyTransactionCommits() async throws {
        let cluster = try TestCluster()
        let producer = try cluster.transactionalProducer()
        try await producer.initialize()
        for _ in 0..<3 { try await producer.withTransaction { _ in } }
        await producer.close()
        let error = await #expect(throws: KafkaError.self) { try await producer.withTransaction { _ in } }
        #expect(error?.kind == .closed)
    }

    @Test func aHundredTransactionsInARowAreAllStored() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try cluster.transactionalProducer()
        for number in 0..<100 {
            try await producer.withTransaction { transaction in
                for part in 0..<3 {
                    try await transaction.enqueue(KafkaMessage(topic: topic, value: "\(number).\(part)"))
                }
            }
        }
        let expected = (0..<100).flatMap { number in (0..<3).map { "\(number).\($0)" } }
        #expect(try await Kcat(cluster).committedValues(topic) == expected)
        await producer.close()
    }

    @Test func tenProducersWithTenTransactionsEachStoreAllOfThem() async throws {
        let cluster = try TestCluster(brokers: 3)
        let topic = try await cluster.makeTopic(partitions: 3)
        try await withThrowingTaskGroup { group in
            for number in 0..<10 {
                group.addTask {
                    let producer = try cluster.transactionalProducer()
                    for round in 0..<10 {
                        try await producer.withTransaction { transaction in
                            for partition in 0..<3 {
                                try await transaction.enqueue(
                                    KafkaMessage(topic: topic, partition: partition, value: "\(number).\(round)")
                                )
                            }
                        }
                    }
                    await producer.close()
                }
            }
            try await group.waitForAll()
        }
        let expected = Set((0..<10).flatMap { number in (0..<10).map { "\(number).\($0)" } })
        for partition in 0..<3 {
            let values = try await Kcat(cluster).committedValues(topic, partition: partition)
            #expect(values.count == 100)
            #expect(Set(values) == expected)
        }
    }

    @Test func settingsThatCannotBeAreRefused() throws {
        func refused(_ change: (inout KafkaTransactionalProducer.Configuration) -> Void) -> KafkaError? {
            var configuration = KafkaTransactionalProducer.Configuration(
                transactionalID: "x",
                bootstrapServers: ["localhost:9092"]
            )
            change(&configuration)
            return #expect(throws: KafkaError.self) { try KafkaTransactionalProducer(configuration, logger: .test) }
        }
        #expect(refused { $0.transactionalID = "" }?.kind == .invalidConfiguration)
        #expect(refused { $0.idempotence = false }?.kind == .invalidConfiguration)
        #expect(refused { $0.acknowledgements = .leader }?.kind == .invalidConfiguration)
        #expect(refused { $0.transactionTimeout = .milliseconds(10) }?.kind == .invalidConfiguration)
        #expect(refused { $0.operationTimeout = .zero }?.kind == .invalidConfiguration)
        #expect(refused { $0.additionalProperties["transactional.id"] = "y" }?.kind == .invalidConfiguration)
        #expect(refused { $0.additionalProperties["transaction.timeout.ms"] = "9" }?.kind == .invalidConfiguration)
    }
}
