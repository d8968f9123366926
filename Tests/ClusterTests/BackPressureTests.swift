import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Synchronization
import Testing

/// A full buffer makes senders wait, and costs nothing else.
@Suite(.enabled(if: TestCluster.isMock, "slows the broker down"), .serialized, .timeLimit(.minutes(3)))
struct BackPressureTests {
    private func makeProducer(_ cluster: TestCluster, maximumBufferedMessages: Int) throws -> KafkaProducer {
        var configuration = cluster.producerConfiguration()
        configuration.maximumBufferedMessages = maximumBufferedMessages
        return try KafkaProducer(configuration, logger: .test)
    }

    @Test func aFullBufferMakesSendersWaitAndConfirmsThemAll() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try cluster.mock.setRoundTripTime(.milliseconds(5))
        let producer = try makeProducer(cluster, maximumBufferedMessages: 10)
        let offsets = try await withThrowingTaskGroup(of: Int64.self) { group in
            for number in 0..<500 {
                group.addTask { try await producer.send(KafkaMessage(topic: topic, value: "\(number)")).offset }
            }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(offsets == Set(0..<500))
        await producer.close()
    }

    @Test func memoryStaysBoundedWhileAMillionMessagesMeetASlowBroker() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try cluster.mock.setRoundTripTime(.milliseconds(2))
        let producer = try makeProducer(cluster, maximumBufferedMessages: 5_000)
        let value = [UInt8](repeating: 7, count: 100)
        let total = 1_000_000
        let before = try Memory.residentBytes()
        let progress = AsyncStream.makeStream(of: KafkaProducer.PendingDelivery.self)
        // Reports are awaited as they come, far behind what is enqueued.
        let confirmed = Task {
            var count = 0
            for await delivery in progress.stream {
                _ = try await delivery.report
                count += 1
            }
            return count
        }
        var peak = before
        for number in 0..<total {
            let pending = try await producer.enqueue(KafkaMessage(topic: topic, value: value))
            // Every hundredth is enough to know that reports arrive; holding all would be the test's own growth.
            if number.isMultiple(of: 100) { progress.continuation.yield(pending) }
            if number.isMultiple(of: 10_000) { peak = max(peak, try Memory.residentBytes()) }
        }
        progress.continuation.finish()
        #expect(try await confirmed.value == total / 100)
        let summary = await producer.close()
        #expect(summary.failed == 0)
        #expect(summary.unknown == 0)
        // A million messages of 100 bytes are 100 MB of values alone, and five times that with what is kept beside each.
        #expect(peak - before < 100 << 20, "grew by \((peak - before) >> 20) MiB")
    }

    @Test func aBatchKeepsLittleForEachMessageHoweverSmallTheBuffer() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try makeProducer(cluster, maximumBufferedMessages: 1)
        let total = 10_000
        let messages = (0..<total).map { KafkaMessage(topic: topic, value: "\($0)") }
        let before = try Memory.residentBytes()
        let results = await producer.send(contentsOf: messages)
        let grown = try Memory.residentBytes() - before
        #expect(results.count { (try? $0.get()) != nil } == total)
        // With the slots of a whole part for each message it would be 320 MiB.
        #expect(grown < 50 << 20, "grew by \(grown >> 20) MiB")
        await producer.close()
    }

    @Test func aMessageThatIsNotPossibleIsRefusedWhileOthersWaitForRoomToo() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try makeProducer(cluster, maximumBufferedMessages: 1)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.milliseconds(500))
        let first = try await producer.enqueue(KafkaMessage(topic: topic, value: "first"))
        // The task goes on when the sender waits: both take turns on the producer's thread.
        let waiting = Task(executorPreference: producer.taskExecutor) {
            try await producer.send(KafkaMessage(topic: topic, value: "second"))
        }
        await Task(executorPreference: producer.taskExecutor) {}.value
        let impossible = [
            KafkaMessage(topic: topic, partition: -1, value: "x"),
            KafkaMessage(topic: topic, partition: 1 << 32, value: "x"),
            KafkaMessage(topic: topic, value: "x", timestamp: KafkaTimestamp(millisecondsSince1970: 0)),
            KafkaMessage(topic: topic + "\0x", value: "x"), KafkaMessage(topic: "", value: "x"),
        ]
        for result in await producer.send(contentsOf: impossible) {
            let error = #expect(throws: KafkaError.self) { try result.get() }
            #expect(error?.kind == .invalidArgument)
            #expect(error?.persistence == .notPersisted)
        }
        _ = try await first.report
        _ = try await waiting.value
        await producer.close()
        #expect(try await Kcat(cluster).count(topic, partition: 0) == 3)
    }

    @Test func aSenderThatWaitsForRoomCanBeCancelled() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try makeProducer(cluster, maximumBufferedMessages: 1)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(10))
        let first = try await producer.enqueue(KafkaMessage(topic: topic, value: "first"))
        let waiting = (0..<10).map { number in
            Task { try await producer.send(KafkaMessage(topic: topic, value: "\(number)")) }
        }
        for task in waiting { task.cancel() }
        for task in waiting {
            let error = await #expect(throws: KafkaError.self) { try await task.value }
            #expect(error?.kind == .cancelled)
            #expect(error?.persistence == .notPersisted)
        }
        #expect(try await first.report.offset == 1)
        await producer.close()
    }

    @Test func waitingForRoomEndsWithTheMessageTimeout() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        var configuration = cluster.producerConfiguration()
        configuration.maximumBufferedMessages = 1
        // Time enough for the first message on a busy machine.
        configuration.messageTimeout = .seconds(4)
        let producer = try KafkaProducer(configuration, logger: .test)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(30))
        let first = try await producer.enqueue(KafkaMessage(topic: topic, value: "first"))
        let error = await #expect(throws: KafkaError.self) {
            try await producer.send(KafkaMessage(topic: topic, value: "second"))
        }
        // The first one's request runs out at the same time, and librdkafka gives up its connection: what is told of it first
        // names the reason.
        #expect(error?.kind == .timedOut || error?.kind == .brokersUnreachable)
        #expect(error?.persistence == .notPersisted && error?.recovery == .retry)
        await #expect(throws: KafkaError.self) { try await first.report }
        await producer.close(within: .zero)
    }

    @Test func closingEndsThoseWhoWaitForRoom() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let producer = try makeProducer(cluster, maximumBufferedMessages: 1)
        try await producer.send(KafkaMessage(topic: topic, value: "before"))
        try cluster.mock.setRoundTripTime(.seconds(60))
        let first = try await producer.enqueue(KafkaMessage(topic: topic, value: "first"))
        let outcomes = AsyncStream.makeStream(of: KafkaError.self)
        for number in 0..<10 {
            Task {
                do throws(KafkaError) {
                    try await producer.send(KafkaMessage(topic: topic, value: "\(number)"))
                } catch {
                    outcomes.continuation.yield(error)
                }
            }
        }
        await producer.close(within: .zero)
        var count = 0
        for await error in outcomes.stream {
            #expect(error.kind == .closed)
            #expect(error.persistence == .notPersisted)
            count += 1
            if count == 10 { break }
        }
        // Whether it had left already when closing began is left open here.
        let error = await #expect(throws: KafkaError.self) { try await first.report }
        #expect(error?.kind == .closed)
    }

    @Test func aMessageLargerThanTheWholeBufferIsRefused() async throws {
        let cluster = try TestCluster()
        var configuration = cluster.producerConfiguration()
        configuration.maximumBufferedBytes = 2_048
        let producer = try KafkaProducer(configuration, logger: .test)
        let error = await #expect(throws: KafkaError.self) {
            try await producer.send(KafkaMessage(topic: "any", value: [UInt8](repeating: 0, count: 10_000)))
        }
        #expect(error?.kind == .messageTooLarge)
        #expect(error?.persistence == .notPersisted)
        await producer.close()
    }

    @Test func twoMillionRefusedSendsLeakNothing() async throws {
        let cluster = try TestCluster()
        let open = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let closed = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        await closed.close()
        let tooLarge = KafkaMessage(
            topic: "any",
            key: "key",
            value: [UInt8](repeating: 0, count: 1_000_001),
            headers: ["name": "value", "another": nil]
        )
        /// A million sends that librdkafka refuses, and a million that do not get as far.
        func refuse(_ count: Int) async {
            for _ in 0..<count {
                for producer in [open, closed] {
                    do throws(KafkaError) {
                        try await producer.send(tooLarge)
                        Issue.record("the send should have been refused")
                    } catch {
                        if error.persistence != .notPersisted { Issue.record(error) }
                    }
                }
            }
        }
        await refuse(10_000)
        let before = try Memory.residentBytes()
        await refuse(1_000_000)
        let growth = try Memory.residentBytes() - before
        #expect(growth < 32 << 20, "grew by \(growth >> 20) MiB")
        await open.close()
    }
}

enum Memory {
    /// How much memory the process has in use.
    static func residentBytes() throws -> Int {
        #if os(Linux)
            let status = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
            guard let pages = status.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
                throw TestFailure("/proc/self/statm: \(status)")
            }
            return pages * sysconf(Int32(_SC_PAGESIZE))
        #else
            var info = mach_task_basic_info()
            var count = mach_msg_type_number_t(MemoryLayout<mach_task_basic_info>.size / MemoryLayout<natural_t>.size)
            let result = withUnsafeMutablePointer(to: &info) { pointer in
                pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
                    task_info(mach_task_self_, task_flavor_t(MACH_TASK_BASIC_INFO), $0, &count)
                }
            }
            guard result == KERN_SUCCESS else { throw TestFailure("task_info failed") }
            return Int(info.resident_size)
        #endif
    }
}
