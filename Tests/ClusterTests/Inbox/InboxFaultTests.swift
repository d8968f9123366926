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

    /// One effect for each message, whatever happens to the members.
    @Suite(.timeLimit(.minutes(5)))
    struct InboxFaultTests {
        private static let partitions = 4
        private static let count = 2_000

        /// Messages of each partition in order, some of them sent twice.
        ///
        /// - Returns: What the effects of each partition are to be.
        private func fill(_ topic: String, _ cluster: TestCluster, seed: UInt64) async throws -> [[String]] {
            var random = SeededGenerator(seed: seed)
            var wanted = [[String]](repeating: [], count: Self.partitions)
            var messages: [KafkaMessage] = []
            for number in 0..<Self.count {
                let partition = Int.random(in: 0..<Self.partitions, using: &random)
                var message = KafkaMessage(topic: topic, partition: partition, value: "\(number)")
                message.idempotencyKey = KafkaBytes("\(number)")
                wanted[partition].append("\(number)")
                messages.append(message)
                // Sent again at once, or some messages later.
                if Int.random(in: 0..<50, using: &random) == 0 { messages.append(message) }
                if Int.random(in: 0..<50, using: &random) == 0, let earlier = messages.suffix(20).first {
                    messages.append(earlier)
                }
            }
            let all = messages
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                for result in await producer.send(contentsOf: all) { _ = try result.get() }
            }
            return wanted
        }

        private func check(_ fixture: InboxFixture, _ wanted: [[String]]) async throws {
            for partition in 0..<Self.partitions {
                #expect(try await fixture.effects(of: partition) == wanted[partition], "partition \(partition)")
            }
        }

        @Test(arguments: [1] as [UInt64]) func rebalancesAndRestartsRepeatNoEffect(seed: UInt64) async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic(partitions: Self.partitions)
            let wanted = try await fill(topic, cluster, seed: seed)
            let inbox = try await fixture.inbox("a")
            var configuration = cluster.quickConsumer(topic)
            configuration.begin(at: inbox)
            let settings = configuration
            try await withThrowingTaskGroup(of: Void.self) { group in
                for member in 0..<3 {
                    group.addTask {
                        var random = SeededGenerator(seed: seed * 10 + UInt64(member))
                        // Comes and goes until all is done.
                        while try await fixture.effectCount() < Self.count {
                            let before = try await fixture.effectCount()
                            let stay = Int.random(in: 200..<700, using: &random)
                            let consumer = try KafkaConsumer(settings, logger: .silent)
                            async let loop: Void = consumer.forEach(inbox: inbox, logger: .silent, InboxFixture.note)
                            try await waitUntil {
                                let now = try await fixture.effectCount()
                                return now >= min(before + stay, Self.count)
                            }
                            await consumer.close(within: .milliseconds(stay))
                            try? await loop
                        }
                    }
                }
                try await group.waitForAll()
            }
            try await check(fixture, wanted)
        }

        @Test func consumersThatAreKilledRepeatNoEffect() async throws {
            let (cluster, fixture) = (try TestCluster(), try await InboxFixture())
            let topic = try await cluster.makeTopic(partitions: Self.partitions)
            let wanted = try await fill(topic, cluster, seed: 7)
            _ = try await fixture.inbox("a")
            var random = SeededGenerator(seed: 8)
            var kills = 0
            while try await fixture.effectCount() < Self.count {
                let before = try await fixture.effectCount()
                let child = try fixture.member(cluster, "a", topic, partitions: Self.partitions)
                let stay = kills < 5 ? Int.random(in: 100..<300, using: &random) : Self.count
                try await waitUntil { try await fixture.effectCount() >= min(before + stay, Self.count) }
                child.send(signal: SIGKILL)
                #expect(await child.end() == .signal(SIGKILL))
                kills += 1
            }
            #expect(kills >= 2)
            try await check(fixture, wanted)
        }
    }
#endif
