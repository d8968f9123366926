#if SQLite
    import DeliveryTesting
    import Foundation
    import GRDB
    import KafkaDelivery
    import KafkaDeliveryTesting
    import OutboxDelivery
    import OutboxKafka
    import OutboxSQLite
    import Testing

    /// Consuming through an inbox in SQLite: one effect for each message.
    @Suite(.timeLimit(.minutes(5)))
    struct InboxTests {
        private struct Failure: Error {}

        /// Runs a consumer's loop until a condition holds.
        private func consume(
            _ configuration: KafkaConsumer.Configuration,
            _ inbox: SQLiteInbox,
            deadLetters: KafkaDeadLetters? = nil,
            retry: KafkaRetryPolicy = .exponential(initial: .milliseconds(10), maximumAttempts: nil),
            _ handler: @escaping @Sendable (KafkaConsumer.Delivery, Database) throws -> Void = InboxFixture.note,
            until condition: () async throws -> Bool
        ) async throws {
            var configuration = configuration
            configuration.begin(at: inbox)
            let consumer = try KafkaConsumer(configuration, logger: .test)
            async let loop: Void = consumer.forEach(
                inbox: inbox,
                retry: retry,
                deadLetters: deadLetters,
                logger: .silent,
                handler
            )
            try await waitUntil(condition)
            await consumer.close(within: .seconds(10))
            try await loop
        }

        private func send(
            _ texts: [String],
            to topic: String,
            partition: Int = 0,
            _ cluster: TestCluster,
            keyed: Bool = false
        ) async throws {
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                let messages = texts.map { text in
                    var message = KafkaMessage(topic: topic, partition: partition, value: text)
                    if keyed { message.idempotencyKey = KafkaBytes(text) }
                    return message
                }
                for result in await producer.send(contentsOf: messages) { _ = try result.get() }
            }
        }

        @Test func anEffectAndItsOffsetAreStoredTogether() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic(partitions: 2)
            let texts = (0..<50).map(String.init)
            for partition in 0..<2 { try await send(texts, to: topic, partition: partition, cluster) }
            let inbox = try await fixture.inbox("a")
            try await consume(cluster.quickConsumer(topic), inbox) { try await fixture.effectCount() == 100 }
            for partition in 0..<2 {
                #expect(try await fixture.effects(of: partition) == texts)
                #expect(try await inbox.nextOffset(of: InboxPlace(topic: topic, partition: partition)) == 50)
            }
        }

        @Test func theStoredOffsetWinsOverTheGroups() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic()
            try await send((0..<20).map(String.init), to: topic, cluster)
            let configuration = cluster.quickConsumer(topic)
            let inbox = try await fixture.inbox("a")
            try await consume(configuration, inbox) { try await fixture.effectCount() == 20 }
            // A database that was restored from before: the group has committed 20, and effects from 5 on are gone.
            try await fixture.database.write { db in
                try db.execute(sql: "DELETE FROM effect WHERE CAST(text AS INTEGER) >= 5")
                try db.execute(sql: "UPDATE inbox_offset SET next = 5")
            }
            try await consume(configuration, inbox) { try await fixture.effectCount() == 20 }
            #expect(try await fixture.effects() == (0..<20).map(String.init))
            // And one that knows more than the group: another group reads from the beginning.
            try await send(["20"], to: topic, cluster)
            try await consume(cluster.quickConsumer(topic), inbox) { try await fixture.effectCount() == 21 }
            #expect(try await fixture.effects() == (0..<21).map(String.init))
        }

        @Test func aMessageThatWasSentTwiceHasOneEffect() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic(partitions: 2)
            try await send(["a", "b", "a", "c", "b"], to: topic, cluster, keyed: true)
            try await send(["c", "d"], to: topic, partition: 1, cluster, keyed: true)
            let inbox = try await fixture.inbox("a")
            try await consume(cluster.quickConsumer(topic), inbox) {
                let next = try await (
                    inbox.nextOffset(of: InboxPlace(topic: topic, partition: 0)),
                    inbox.nextOffset(of: InboxPlace(topic: topic, partition: 1))
                )
                return next == (5, 2)
            }
            #expect(try await fixture.effects().sorted() == ["a", "b", "c", "d"])
            // Another consumer has keys of its own.
            try await consume(cluster.quickConsumer(topic), fixture.inbox("b")) { try await fixture.effectCount() == 8 }
        }

        @Test func aHandlerThatThrowsLeavesNeitherEffectNorOffsetAndTheMessageComesAgain() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic()
            try await send(["a", "b", "c"], to: topic, cluster, keyed: true)
            let failures = Shared(0)
            let inbox = try await fixture.inbox("a")
            try await consume(cluster.quickConsumer(topic), inbox) { delivery, db in
                try InboxFixture.note(delivery, db)
                if delivery.offset == 1,
                    failures.change({
                        $0 += 1; return $0
                    }) <= 3
                {
                    throw Failure()
                }
            } until: {
                try await fixture.effectCount() == 3
            }
            #expect(failures.value == 4)
            #expect(try await fixture.effects() == ["a", "b", "c"])
        }

        @Test func aMessageThatIsGivenUpHasNoEffectUntilItIsSentAgain() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic()
            try await cluster.makeTopic(exactly: topic + "-dlt")
            try await send(["a", "bad", "c"], to: topic, cluster, keyed: true)
            let inbox = try await fixture.inbox("a")
            let isMended = Shared(false)
            let handler: @Sendable (KafkaConsumer.Delivery, Database) throws -> Void = { delivery, db in
                try InboxFixture.note(delivery, db)
                if delivery.offset == 1, !isMended.value { throw Failure() }
            }
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                try await consume(
                    cluster.quickConsumer(topic),
                    inbox,
                    deadLetters: KafkaDeadLetters(producer: producer),
                    retry: .exponential(initial: .milliseconds(1), maximumAttempts: 2),
                    handler
                ) {
                    try await fixture.effectCount() == 2
                }
            }
            #expect(try await fixture.effects() == ["a", "c"])
            // What was given up had no effect, so its key is not known.
            try await send(["bad"], to: topic, cluster, keyed: true)
            try await consume(cluster.quickConsumer(topic), inbox) { try await fixture.effectCount() == 3 }
            #expect(try await fixture.effects() == ["a", "c", "bad"])
        }

        @Test func aDeadLetterIsMadeOnceAlsoWhereTheConsumerBeginsAgainAtTheStoredOffset() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic()
            try await cluster.makeTopic(exactly: topic + "-dlt")
            try await send(["a", "bad"], to: topic, cluster, keyed: true)
            let inbox = try await fixture.inbox("a")
            let attempts = Shared(0)
            let handler: @Sendable (KafkaConsumer.Delivery, Database) throws -> Void = { delivery, db in
                try InboxFixture.note(delivery, db)
                guard delivery.offset == 1 else { return }
                attempts.change { $0 += 1 }
                throw Failure()
            }
            let place = InboxPlace(topic: topic, partition: 0)
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                let letters = KafkaDeadLetters(producer: producer)
                let policy = KafkaRetryPolicy.exponential(initial: .milliseconds(1), maximumAttempts: 2)
                // The last of its partition: no later one moves the offset.
                try await consume(cluster.quickConsumer(topic), inbox, deadLetters: letters, retry: policy, handler) {
                    try await inbox.nextOffset(of: place) == 2
                }
                #expect(attempts.value == 2)
                try await send(["c"], to: topic, cluster, keyed: true)
                // Another group has committed nothing: where it begins, the inbox says.
                try await consume(cluster.quickConsumer(topic), inbox, deadLetters: letters, retry: policy, handler) {
                    try await fixture.effectCount() == 2
                }
            }
            #expect(attempts.value == 2)
            #expect(try await fixture.effects() == ["a", "c"])
        }

        @Test func aDatabaseThatIsBusyIsWaitedForAndIsNoMessagesFailure() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic()
            try await cluster.makeTopic(exactly: topic + "-dlt")
            try await send(["a", "b"], to: topic, cluster)
            // The consumer's connection does not wait, and another process writes for long.
            let impatient = try DatabasePool(path: fixture.path)
            let inbox = try SQLiteInbox(impatient, consumer: "a")
            try await inbox.migrate()
            var settings = GRDB.Configuration()
            settings.allowsUnsafeTransactions = true
            let other = try DatabaseQueue(path: fixture.path, configuration: settings)
            try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
            let log = Shared(0)
            let handler: @Sendable (KafkaConsumer.Delivery, Database) throws -> Void = { delivery, db in
                log.change { $0 += 1 }
                try InboxFixture.note(delivery, db)
            }
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                var configuration = cluster.quickConsumer(topic)
                configuration.begin(at: inbox)
                let consumer = try KafkaConsumer(configuration, logger: .test)
                let (logger, lines) = LogRecorder.logger()
                async let loop: Void = consumer.forEach(
                    inbox: inbox,
                    retry: .none,
                    deadLetters: KafkaDeadLetters(producer: producer),
                    logger: logger,
                    handler
                )
                try await waitUntil { lines.value.filter { $0.message.contains("waited for") }.count >= 3 }
                #expect(log.value == 0)
                try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
                try await waitUntil { try await fixture.effectCount() == 2 }
                await consumer.close(within: .seconds(10))
                try await loop
            }
            #expect(try await fixture.effects() == ["a", "b"])
        }

        @Test func aConsumerThatDoesNotBeginAtItsInboxIsRefused() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic()
            let inbox = try await fixture.inbox("a")
            let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test)
            let error = await #expect(throws: KafkaError.self) {
                try await consumer.forEach(inbox: inbox) { (_: KafkaConsumer.Delivery, _: Database) in }
            }
            #expect(error?.kind == .invalidConfiguration)
            #expect(error?.reason.contains("begin(at:") == true)
            await consumer.close(within: .seconds(10))
        }

        @Test func aMemberThatLostItsPartitionAndGoesOnHasNoEffect() async throws {
            let fixture = try await InboxFixture()
            let (zombie, owner) = (try await fixture.inbox("a"), try await fixture.inbox("a"))
            let place = InboxPlace(topic: "t", partition: 0)
            func receive(_ inbox: SQLiteInbox, _ offset: Int64) async throws -> Bool {
                let message = InboxMessage(place: place, offset: offset, idempotencyKey: nil)
                return try await !inbox.receive([message]) { db, _ in
                    try db.execute(sql: "INSERT INTO effect (part, text) VALUES (0, ?)", arguments: ["\(offset)"])
                }.isEmpty
            }
            #expect(try await receive(zombie, 0))
            #expect(try await receive(owner, 1))
            #expect(try await receive(owner, 2))
            #expect(try await receive(zombie, 1) == false)
            #expect(try await receive(zombie, 2) == false)
            #expect(try await receive(zombie, 3))
            #expect(try await receive(owner, 3) == false)
            #expect(try await fixture.effects() == ["0", "1", "2", "3"])
        }

        @Test func aBatchHasOneTransactionAndHandsOutWhatIsNew() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic()
            try await send((0..<100).map { "\($0 % 80)" }, to: topic, cluster, keyed: true)
            let inbox = try await fixture.inbox("a")
            var configuration = cluster.quickConsumer(topic)
            configuration.begin(at: inbox)
            let consumer = try KafkaConsumer(configuration, logger: .test)
            let (sizes, failed) = (Shared<[Int]>([]), Shared(false))
            async let loop: Void = consumer.forEachBatch(
                inbox: inbox,
                maximumCount: 30,
                maximumWait: .milliseconds(200),
                retry: .exponential(initial: .milliseconds(1), maximumAttempts: nil),
                logger: .silent
            ) { (deliveries: [KafkaConsumer.Delivery], db: Database) in
                for delivery in deliveries { try InboxFixture.note(delivery, db) }
                if !failed.change({
                    let was = $0; $0 = true; return was
                }) {
                    throw Failure()
                }
                sizes.change { $0.append(deliveries.count) }
            }
            try await waitUntil { try await inbox.nextOffset(of: InboxPlace(topic: topic, partition: 0)) == 100 }
            await consumer.close(within: .seconds(10))
            try await loop
            #expect(try await fixture.effects() == (0..<80).map(String.init))
            #expect(sizes.value.allSatisfy { $0 <= 30 })
            #expect(sizes.value.reduce(0, +) == 80)
        }
    }
#endif
