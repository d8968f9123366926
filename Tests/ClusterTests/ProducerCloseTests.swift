import KafkaDelivery
import KafkaDeliveryTesting
import ServiceLifecycle
import Testing

/// However a producer ends, every send has exactly one outcome, and the end comes by its deadline.
@Suite(.timeLimit(.minutes(5)))
struct ProducerCloseTests {
    @Test func closingWithAThousandSendsInFlightGivesEachItsReport() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        if TestCluster.isMock { try cluster.mock.setRoundTripTime(.milliseconds(200)) }
        var pending: [KafkaProducer.PendingDelivery] = []
        for number in 0..<1_000 {
            pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
        }
        let start = ContinuousClock.now
        let summary = await producer.close(within: .seconds(60))
        // Some may have been reported before closing began; none failed, and nobody waited for a time-out.
        #expect(summary.failed == 0)
        #expect(summary.unknown == 0)
        #expect(start.duration(to: .now) < .seconds(20))
        for (number, delivery) in pending.enumerated() {
            #expect(try await delivery.report.offset == Int64(number + 1))
        }
    }

    @Test func closingWhileTasksSendGivesEverySendOneOutcome() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let (confirmed, refused) = try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<2_000 {
                group.addTask {
                    do {
                        try await producer.send(KafkaMessage(topic: topic, value: "\(number)"))
                        return true
                    } catch let error as KafkaError {
                        #expect(error.kind == .closed)
                        #expect(error.persistence == .notPersisted)
                        return false
                    }
                }
                if number == 1_000 {
                    group.addTask {
                        await producer.close()
                        return true
                    }
                }
            }
            return try await group.reduce(into: (0, 0)) { counts, isConfirmed in
                if isConfirmed { counts.0 += 1 } else { counts.1 += 1 }
            }
        }
        #expect(confirmed + refused == 2_001)
        #expect(try await Kcat(cluster).count(topic, partition: 0) == confirmed - 1)
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func closingWithoutBrokersEndsByTheDeadlineAndSaysWhatIsUnknown() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.takeDown()
        var pending: [KafkaProducer.PendingDelivery] = []
        for number in 0..<100 {
            pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
        }
        let summary = await producer.close(within: .milliseconds(200))
        #expect(summary.delivered == 0)
        #expect(summary.failed + summary.unknown == 100)
        var failed = 0
        for delivery in pending {
            do {
                _ = try await delivery.report
            } catch {
                #expect(error.kind == .closed)
                failed += error.persistence == .notPersisted ? 1 : 0
            }
        }
        #expect(failed == summary.failed)
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func closingWithoutWaitingTellsWhatWasInFlightFromWhatWasNot() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.maximumInFlightRequests = 1
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(60))
        var pending: [KafkaProducer.PendingDelivery] = []
        for number in 0..<20_000 {
            pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
        }
        let summary = await producer.close(within: .milliseconds(100))
        #expect(summary.delivered == 0)
        #expect(summary.unknown > 0, "the first request was on its way")
        #expect(summary.failed > 0, "the rest had not been sent")
        #expect(summary.unknown + summary.failed == 20_000)
    }

    @Test func closingTwiceAndFromManyTasksIsOneClose() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "x"))
        await withTaskGroup(of: KafkaCloseSummary.self) { group in
            for _ in 0..<10 { group.addTask { await producer.close() } }
            for await summary in group { #expect(summary == ConfirmedSendTests.summary()) }
        }
        #expect(await producer.close(within: .zero) == ConfirmedSendTests.summary())
        try await producer.flush()
    }

    @Test func aDroppedProducerStillSendsWhatItAccepted() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        weak var dropped: KafkaProducer?
        var pending: [KafkaProducer.PendingDelivery] = []
        do {
            let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
            dropped = producer
            for number in 0..<1_000 {
                pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
            }
        }
        #expect(dropped == nil)
        for (number, delivery) in pending.enumerated() {
            #expect(try await delivery.report.offset == Int64(number))
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aDroppedProducerWithoutBrokersFailsItsSendsByTheDeadline() async throws {
        let cluster = try TestCluster()
        try cluster.mock.takeDown()
        var configuration = cluster.producerConfiguration()
        configuration.closeTimeout = .milliseconds(100)
        let pending = try await KafkaProducer(configuration, logger: .test).enqueue(
            KafkaMessage(topic: "any", value: "x")
        )
        let error = await #expect(throws: KafkaError.self) { try await pending.report }
        #expect(error?.kind == .closed)
        #expect(error?.persistence == .notPersisted)
    }

    @Test func aServiceGroupThatShutsDownConfirmsWhatWasSent() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let group = ServiceGroup(
            configuration: .init(services: [.init(service: producer)], logger: .test)
        )
        async let running: Void = group.run()
        var pending: [KafkaProducer.PendingDelivery] = []
        for number in 0..<100 {
            pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
        }
        await group.triggerGracefulShutdown()
        try await running
        for delivery in pending { _ = try await delivery.report }
        let error = await #expect(throws: KafkaError.self) {
            try await producer.send(KafkaMessage(topic: topic, value: "x"))
        }
        #expect(error?.kind == .closed)
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func cancellingTheTaskThatRunsTheProducerEndsEveryWaitingSend() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(60))
        let running = Task { try await producer.run() }
        var pending: [KafkaProducer.PendingDelivery] = []
        for number in 0..<100 {
            pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
        }
        running.cancel()
        for delivery in pending {
            let error = await #expect(throws: KafkaError.self) { try await delivery.report }
            #expect(error?.kind == .closed)
        }
        await #expect(throws: CancellationError.self) { try await running.value }
    }

    @Test func aScopeClosesItsProducerHoweverItEnds() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let configuration = cluster.producerConfiguration()
        let (producer, pending) = try await withKafkaProducer(configuration, logger: .test) { producer in
            (producer, try await producer.enqueue(KafkaMessage(topic: topic, value: "x")))
        }
        #expect(try await pending.report.offset == 0)
        let error = await #expect(throws: KafkaError.self) {
            try await producer.send(KafkaMessage(topic: topic, value: "y"))
        }
        #expect(error?.kind == .closed)
        await #expect(throws: TestFailure.self) {
            try await withKafkaProducer(configuration, logger: .test) { _ in throw TestFailure("inside") }
        }
    }
}
