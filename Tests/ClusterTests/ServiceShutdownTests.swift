import KafkaDelivery
import ServiceLifecycle
import Testing

/// Services end when their group is shut down, in whichever order they were given to it, and what was acknowledged is committed.
@Suite(.timeLimit(.minutes(5)))
struct ServiceShutdownTests {
    enum Loop: CaseIterable {
        case deliveries
        /// A task for each partition.
        case partitions
        /// It never waits, because there is always something to read.
        case busy
        case forEach
    }

    /// Reads, sends for each message another one, and acknowledges when that is confirmed.
    private struct Billing: Service {
        let consumer: KafkaConsumer
        let producer: KafkaProducer
        let loop: Loop
        let outputs: String
        let acknowledged: Shared<Int>

        func run() async throws {
            switch loop {
            case .deliveries:
                for try await delivery in consumer.deliveries { try await handle(delivery) }
            case .partitions:
                try await withThrowingDiscardingTaskGroup { group in
                    for try await partition in consumer.partitions {
                        group.addTask { for try await delivery in partition { try await handle(delivery) } }
                    }
                }
            case .busy:
                for try await delivery in consumer.deliveries {
                    delivery.acknowledge()
                    acknowledged.change { $0 += 1 }
                    // There is more to read than it comes to.
                    try await Task.sleep(for: .milliseconds(5))
                }
            case .forEach:
                try await consumer.forEach { try await handle($0) }
            }
        }

        private func handle(_ delivery: KafkaConsumer.Delivery) async throws {
            let pending = try await producer.enqueue(KafkaMessage(topic: outputs, value: delivery.value))
            _ = try await pending.report
            delivery.acknowledge()
            acknowledged.change { $0 += 1 }
        }
    }

    private struct EventLog: Service {
        let consumer: KafkaConsumer
        let hasBegun: Shared<Bool>

        func run() async throws {
            for await event in consumer.events {
                if case .assigned = event { hasBegun.change { $0 = true } }
            }
        }
    }

    private struct Setting {
        let cluster: TestCluster
        let topic: String
        let configuration: KafkaConsumer.Configuration
        let consumer: KafkaConsumer
        let producer: KafkaProducer
        let billing: Billing

        init(_ loop: Loop) async throws {
            cluster = try TestCluster()
            topic = try await cluster.makeTopic(partitions: 2)
            let outputs = try await cluster.makeTopic(name: "outputs")
            try await cluster.fill(topic, partitions: 2, count: loop == .busy ? 5_000 : 200)
            configuration = cluster.quickConsumer(topic)
            consumer = try KafkaConsumer(configuration, logger: .test)
            producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
            billing = Billing(
                consumer: consumer,
                producer: producer,
                loop: loop,
                outputs: outputs,
                acknowledged: Shared(0)
            )
        }

        var committed: Int64 {
            get async throws {
                let offsets = GroupOffsets(cluster, configuration.group)
                return try await offsets.committed(topic, partitions: 0...1).values.reduce(0, +)
            }
        }

        /// Runs the services, shuts them down when there is something acknowledged, and waits for their end.
        func run(_ services: [any Service], until isUnderWay: () async throws -> Void) async throws {
            let group = ServiceGroup(services: services, logger: .test)
            let running = Task { try await group.run() }
            try await isUnderWay()
            await group.triggerGracefulShutdown()
            try await expectWithin(.seconds(15)) {
                try await withTaskCancellationHandler {
                    try await running.value
                } onCancel: {
                    running.cancel()
                }
            }
        }
    }

    @Test(arguments: Loop.allCases)
    func aServiceThatLoopsEndsAndWhatItAcknowledgedIsCommitted(loop: Loop) async throws {
        let setting = try await Setting(loop)
        let acknowledged = setting.billing.acknowledged
        try await setting.run([setting.producer, setting.consumer, setting.billing]) {
            // Some of it, or all, and then the loop waits for more.
            try await acknowledged.wait { $0 >= (loop == .deliveries ? 400 : 50) }
        }
        #expect(try await setting.committed == Int64(acknowledged.value))
        if loop == .busy { #expect(acknowledged.value < 10_000) }
    }

    @Test(arguments: Array(0..<6), [Loop.deliveries, .partitions, .forEach])
    func servicesEndInEveryOrderAndLoseNothing(order: Int, loop: Loop) async throws {
        let setting = try await Setting(loop)
        let acknowledged = setting.billing.acknowledged
        var rest: [any Service] = [setting.producer, setting.consumer, setting.billing]
        var services: [any Service] = []
        for index in [order / 2, order % 2, 0] { services.append(rest.remove(at: index)) }
        do {
            try await setting.run(services) { try await acknowledged.wait { $0 >= 50 } }
        } catch {
            // One that others need was shut down before them, and the group says what came of that.
            #expect(!(services.last is Billing), "\(error)")
        }
        #expect(try await setting.committed == Int64(acknowledged.value))
        #expect(try await Kcat(setting.cluster).count(setting.billing.outputs, partition: 0) >= acknowledged.value)
    }

    @Test(arguments: [false, true])
    func aServiceThatReadsEventsEnds(isFirst: Bool) async throws {
        let setting = try await Setting(.deliveries)
        let log = EventLog(consumer: setting.consumer, hasBegun: Shared(false))
        var services: [any Service] = [setting.producer, setting.consumer, setting.billing]
        services.insert(log, at: isFirst ? 2 : 3)
        try await setting.run(services) { try await log.hasBegun.wait { $0 } }
        #expect(try await setting.committed == Int64(setting.billing.acknowledged.value))
    }

    @Test func aLoopThatBeginsInAServiceThatIsBeingShutDownReceivesNothing() async throws {
        struct Late: Service {
            let consumer: KafkaConsumer
            let received: Shared<Int>

            func run() async throws {
                try await gracefulShutdown()
                for try await _ in consumer.deliveries { received.change { $0 += 1 } }
                for try await _ in consumer.partitions { received.change { $0 += 1 } }
                for await _ in consumer.events { received.change { $0 += 1 } }
            }
        }
        let setting = try await Setting(.deliveries)
        let late = Late(consumer: setting.consumer, received: Shared(0))
        try await setting.run([setting.producer, setting.consumer, late]) {}
        #expect(late.received.value == 0)
    }
}
