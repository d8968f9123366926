#if SQLite
    import DeliveryTesting
    import GRDB
    import KafkaDelivery
    import Logging
    import OutboxDelivery
    import OutboxKafka
    import OutboxSQLite
    import Testing

    /// Consume, change the database, tell others: once from end to end.
    @Suite(.timeLimit(.minutes(5)))
    struct InboxChainTests {
        /// A publisher that is ended in the middle, over and over, sends some events twice; the next inbox knows them.
        @Test func whatIsConsumedAndToldThroughAnOutboxHasOneEffectAtTheEndOfTheChain() async throws {
            let count = 300
            let cluster = try TestCluster()
            let (orders, bills) = (
                try await cluster.makeTopic(partitions: 2), try await cluster.makeTopic(partitions: 2, name: "bills")
            )
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                let messages = (0..<count).map { number in
                    var message = KafkaMessage(topic: orders, key: "k\(number % 5)", value: "\(number)")
                    message.idempotencyKey = KafkaBytes("order-\(number)")
                    return message
                }
                // Some were sent twice.
                for result in await producer.send(contentsOf: messages + messages.suffix(20)) { _ = try result.get() }
            }

            // The service in the middle: its change, its offset and its event are one transaction.
            let middle = try await InboxFixture()
            let inbox = try await middle.inbox("middle")
            let outbox = try SQLiteOutbox(middle.database)
            try await outbox.migrate()
            var configuration = cluster.quickConsumer(orders)
            configuration.begin(at: inbox)
            let consumer = try KafkaConsumer(configuration, logger: .silent)
            async let consuming: Void = consumer.forEach(inbox: inbox, logger: .silent) { delivery, db in
                try InboxFixture.note(delivery, db)
                try outbox.append(
                    OutboxMessage(topic: bills, key: delivery.key?.array, payload: delivery.value?.array),
                    in: db
                )
            }

            // The end of the chain.
            let end = try await InboxFixture()
            let last = try await end.inbox("end")
            var lastConfiguration = cluster.quickConsumer(bills)
            lastConfiguration.begin(at: last)
            let lastConsumer = try KafkaConsumer(lastConfiguration, logger: .silent)
            async let ending: Void = lastConsumer.forEach(inbox: last, logger: .silent, InboxFixture.note)

            let kafka = try KafkaOutboxDestination(cluster.producerConfiguration(), logger: .silent)
            var random = SeededGenerator(seed: 3)
            while try await end.effectCount() < count {
                let before = try await end.effectCount()
                let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": kafka], logger: .silent)
                let stay = Int.random(in: 20..<80, using: &random)
                let running = Task { try await publisher.run() }
                try await waitUntil { try await end.effectCount() >= min(before + stay, count) }
                // At once: what is under way is sent again by the next one.
                running.cancel()
                try? await running.value
            }
            await consumer.close(within: .seconds(10))
            await lastConsumer.close(within: .seconds(10))
            try await consuming
            try await ending
            await kafka.close()

            let effects = try await end.effects()
            #expect(Set(effects).count == count)
            #expect(effects.count == count)
            for key in 0..<5 {
                let own = effects.compactMap { Int($0) }.filter { $0 % 5 == key }
                #expect(own == own.sorted())
            }
            #expect(try await middle.effectCount() == count)
        }
    }
#endif
