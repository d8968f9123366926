@testable import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// Tasks that prefer the producer's thread: they run there, together with its reports, and outlive it.
@Suite(.timeLimit(.minutes(5)))
struct ProducerExecutorTests {
    @Test func whatPrefersTheExecutorRunsOnOneThreadAndComesBackThere() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let elsewhere = Elsewhere()
            let threads = try await withTaskExecutorPreference(producer.taskExecutor) {
                var threads: Set<UInt> = [currentThread()]
                for number in 0..<100 {
                    try await producer.send(KafkaMessage(topic: topic, value: "\(number)"))
                    threads.insert(currentThread())
                }
                let other = await elsewhere.thread()
                threads.insert(currentThread())
                try await Task.sleep(for: .milliseconds(1))
                threads.insert(currentThread())
                #expect(!threads.contains(other))
                return threads
            }
            #expect(threads.count == 1)
            #expect(!threads.contains(currentThread()))
        }
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 100)
    }

    @Test func tasksOnTheExecutorAndTasksElsewhereSendTogether() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let offsets = try await withThrowingTaskGroup(of: [Int64].self) { group in
                for number in 0..<200 {
                    let executor = number % 2 == 0 ? producer.taskExecutor : nil
                    group.addTask(executorPreference: executor) {
                        var offsets: [Int64] = []
                        for _ in 0..<20 {
                            offsets.append(
                                try await producer.send(KafkaMessage(topic: topic, value: "\(number)")).offset
                            )
                            // From the pool to the thread and back, for half of them.
                            await Task.yield()
                        }
                        return offsets
                    }
                }
                return try await group.reduce(into: Set()) { $0.formUnion($1) }
            }
            #expect(offsets == Set(0..<4_000))
        }
    }

    /// Nothing wakes the producer's thread here but the tasks themselves.
    @Test func tasksGetTheirTurnWhileSendersEnqueueAndNoReportEverComes() async throws {
        var configuration = KafkaProducer.Configuration(bootstrapServers: ["127.0.0.1:1"])
        configuration.messageTimeout = .seconds(600)
        configuration.additionalProperties = ["reconnect.backoff.ms": "600000", "reconnect.backoff.max.ms": "600000"]
        let producer = try KafkaProducer(configuration, logger: .test)
        let turns = try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                var turns = 0
                while !Task.isCancelled {
                    turns += await Task(executorPreference: producer.taskExecutor) { 1 }.value
                }
                return turns
            }
            for _ in 0..<2 {
                group.addTask {
                    for _ in 0..<500 {
                        for _ in 0..<SendBlock.sharedCapacity {
                            _ = try await producer.enqueue(KafkaMessage(topic: "t", value: "x"))
                        }
                        // Long enough for the thread to sleep until something wakes it.
                        try await Task.sleep(for: .milliseconds(2))
                    }
                    return 0
                }
            }
            let senders = try await (group.next(), group.next())
            #expect(senders.0 == 0 && senders.1 == 0)
            group.cancelAll()
            return try await group.next()
        }
        #expect(turns ?? 0 > 0)
        await producer.close(within: .zero)
    }

    @Test func aFullBufferDoesNotStopWhoeverFillsItFromTheExecutor() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.maximumBufferedMessages = 10
        try await withKafkaProducer(configuration, logger: .test) { producer in
            let offsets = try await withTaskExecutorPreference(producer.taskExecutor) {
                var pending: [KafkaProducer.PendingDelivery] = []
                for number in 0..<1_000 {
                    pending.append(try await producer.enqueue(KafkaMessage(topic: topic, value: "\(number)")))
                }
                try await producer.flush()
                var offsets: [Int64] = []
                for delivery in pending { offsets.append(try await delivery.report.offset) }
                return offsets
            }
            #expect(offsets == Array(0..<1_000))
        }
    }

    @Test func aTaskOnTheExecutorClosesItsProducerAndGoesOn() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let executor = producer.taskExecutor
        let steps = try await withTaskExecutorPreference(executor) {
            let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: "last"))
            let summary = await producer.close()
            #expect(summary.failed + summary.unknown == 0)
            #expect(try await pending.report.offset == 0)
            var steps = 0
            for _ in 0..<100 {
                await Task.yield()
                steps += 1
            }
            do {
                try await producer.send(KafkaMessage(topic: topic, value: "too late"))
            } catch let error as KafkaError {
                #expect(error.kind == .closed)
                steps += 1
            }
            return steps
        }
        #expect(steps == 101)
        // One that begins when there has long been no thread.
        #expect(await Task(executorPreference: executor) { 1 }.value == 1)
    }

    @Test func tasksOnTheExecutorOutliveAProducerThatIsClosedElsewhere() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "first"))
        let (confirmed, refused) = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<100 {
                group.addTask(executorPreference: producer.taskExecutor) {
                    do {
                        while true { try await producer.send(KafkaMessage(topic: topic, value: "more")) }
                    } catch let error as KafkaError where error.kind == .closed {
                        // Sleeps and yields work without the thread too.
                        try await Task.sleep(for: .milliseconds(1))
                        await Task.yield()
                        return error.persistence == .notPersisted
                    }
                }
            }
            group.addTask {
                await producer.close()
                return true
            }
            return try await group.reduce(into: (0, 0)) { counts, isRefused in
                if isRefused { counts.1 += 1 } else { counts.0 += 1 }
            }
        }
        #expect(confirmed == 0)
        #expect(refused == 101)
    }

    @Test(.enabled(if: TestCluster.isMock, "stops the brokers"))
    func aSendOnTheExecutorIsCancelledAtOnce() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.takeDown()
        let error = await Task(executorPreference: producer.taskExecutor) { () -> KafkaError? in
            await withTaskGroup(of: KafkaError?.self) { group in
                group.addTask {
                    do throws(KafkaError) {
                        try await producer.send(KafkaMessage(topic: topic, value: "unconfirmed"))
                        return nil
                    } catch { return error }
                }
                // Tasks begin in their order there: the send has been handed over when the next one has run.
                await Task(executorPreference: producer.taskExecutor) {}.value
                group.cancelAll()
                return await group.next() ?? nil
            }
        }.value
        #expect(error?.kind == .cancelled)
        #expect(error?.persistence == .possiblyPersisted)
        await producer.close(within: .zero)
    }
}

private func currentThread() -> UInt {
    BlockingThread.current
}

private actor Elsewhere {
    // An actor without an executor of its own runs on the task's preferred one; this has one of its own.
    nonisolated let unownedExecutor = MainActor.sharedUnownedExecutor

    func thread() -> UInt { currentThread() }
}
