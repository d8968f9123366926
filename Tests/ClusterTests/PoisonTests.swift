import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// A message that kills the process that handles it, each time, becomes a dead letter. Everything else is handled.
@Suite(.timeLimit(.minutes(3)))
struct PoisonTests {
    /// What several processes handled, one started after the other had died.
    private struct Run {
        var starts = 0
        var handled: [String] = []
        var letter: KafkaMessage?
    }

    /// Starts the child again and again, until the dead letter is there and everything is committed; then it is asked to
    /// end.
    private func runUntilItSurvives(
        _ cluster: TestCluster,
        _ configuration: KafkaConsumer.Configuration,
        letters: String,
        concurrency: String,
        fatal: [String],
        until committed: [Int: Int64]
    ) async throws -> Run {
        let folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        var properties = [("session", configuration.sessionTimeout), ("heartbeat", configuration.heartbeatInterval)]
            .compactMap { name, time in time.map { "\(name)=\($0 / .milliseconds(1))" } }
        if let instance = configuration.groupInstanceID { properties.append("group.instance.id=\(instance)") }
        if configuration.groupProtocol == .consumer { properties.append("group.protocol=consumer") }
        let arguments =
            [
                cluster.bootstrapServers.joined(separator: ","), configuration.group, configuration.topics[0], letters,
                "2",
                concurrency, fatal.joined(separator: ","),
            ] + properties
        // The child that is alive when the dead letter arrives is the one that survives.
        let input = Shared<FileHandle?>(nil)
        let watcher = Task {
            let letter = try await withKafkaConsumer(cluster.quickConsumer(letters), logger: .test) { consumer in
                try await consumer.take(1).first?.message
            }
            let offsets = GroupOffsets(cluster, configuration.group)
            let last = try #require(committed.keys.max())
            try await waitUntil {
                try await offsets.committed(configuration.topics[0], partitions: 0...last) == committed
            }
            try input.value?.close()
            return try #require(letter)
        }
        defer { watcher.cancel() }
        var run = Run()
        while true {
            run.starts += 1
            guard run.starts < 20 else { throw TestFailure("the culprit is not found after \(run.starts) starts") }
            let child = try ChildProcess(folder.appendingPathComponent("PoisonedConsumer").path, arguments)
            input.change { $0 = child.input }
            for await line in child.lines() { run.handled.append(line) }
            let end = await child.end()
            if end == .exit(0) {
                run.letter = try await watcher.value
                return run
            }
            #expect(end == .signal(SIGABRT), "it died of something else")
        }
    }

    @Test func aCrashIsCountedBeforeTheFirstMessageAndTakenBackByACleanEnd() async throws {
        struct Failure: Error {}
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        configuration.maximumCrashes = 3
        let offsets = GroupOffsets(cluster, configuration.group)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let noted = Shared<[Int: String]>([:])
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(
                retry: .fixed(.seconds(3_600), maximumAttempts: nil),
                deadLetters: KafkaDeadLetters(producer: producer)
            ) { _ in
                let texts = try await offsets.metadata(topic, partitions: 0...0)
                noted.change { $0 = texts }
                Task { await consumer.close() }
                throw Failure()
            }
        }
        #expect(noted.value == [0: "kafka-delivery/1 crashes=1"])
        #expect(try await offsets.metadata(topic, partitions: 0...0) == [:])
        #expect(try await offsets.committed(topic) == 0)
        await producer.close()
    }

    @Test func aCleanEndTakesBackWhatWasNotedWhereNothingIsLeft() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic(partitions: 2)
        try await cluster.fill(topic, partitions: 2, count: 1)
        var configuration = cluster.quickConsumer(topic)
        configuration.maximumCrashes = 3
        let offsets = GroupOffsets(cluster, configuration.group)
        // A process that handled all of the partition, and died elsewhere.
        try await offsets.commit(topic, 1, metadata: "kafka-delivery/1 crashes=1")
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(deadLetters: KafkaDeadLetters(producer: producer)) {
                delivery in
                #expect(delivery.partition == 1)
                Task { await consumer.close() }
            }
        }
        #expect(try await offsets.metadata(topic, partitions: 0...1) == [:])
        #expect(try await offsets.committed(topic, partitions: 0...1) == [0: 1, 1: 1])
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aMemberThatLosesItsSessionDuringAProbeBlamesNoMessage() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        configuration.maximumCrashes = 2
        let offsets = GroupOffsets(cluster, configuration.group)
        try await offsets.commit(topic, 0, metadata: "kafka-delivery/1 crashes=2")
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let handled = Recorder()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            try await consumer.forEach(deadLetters: KafkaDeadLetters(producer: producer)) {
                delivery in
                switch handled.record(key: "", Int(delivery.offset)) {
                case 1:
                    #expect(try await offsets.metadata(topic, partitions: 0...0)[0]?.contains("probe=0") == true)
                    // UNKNOWN_MEMBER_ID: the group has given this member up.
                    let heartbeat: MockCluster.RequestKind =
                        TestCluster.groupProtocol == .classic ? .heartbeat : .consumerGroupHeartbeat
                    try cluster.mock.inject([.init(code: 25)], into: heartbeat, broker: 1)
                    _ = try await events.first { if case .lost = $0 { true } else { nil } }
                case 4: Task { await consumer.close() }
                default: break
                }
            }
        }
        #expect(handled.numbers == ["": [0, 0, 1, 2]])
        #expect(try await offsets.committed(topic) == 3)
        #expect(try await offsets.metadata(topic, partitions: 0...0) == [:])
        await producer.close()
    }

    @Test func whatAnotherClientWroteBesideTheOffsetIsTolerated() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        configuration.maximumCrashes = 2
        let offsets = GroupOffsets(cluster, configuration.group)
        try await offsets.commit(topic, 1, metadata: "kafka-streams: AAAB 7 crashes=99")
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let handled = Recorder()
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            try await consumer.forEach(deadLetters: KafkaDeadLetters(producer: producer)) {
                delivery in
                if handled.record(key: "", Int(delivery.offset)) == 2 { Task { await consumer.close() } }
            }
        }
        #expect(handled.numbers == ["": [1, 2]])
        #expect(try await offsets.committed(topic) == 3)
        #expect(try await offsets.metadata(topic, partitions: 0...0) == [:])
        await producer.close()
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aBrokerThatRefusesTheTextBesideOffsetsIsSpokenOfAndMessagesAreHandled() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        var configuration = cluster.quickConsumer(topic)
        configuration.maximumCrashes = 2
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        // OFFSET_METADATA_TOO_LARGE: the broker's offset.metadata.max.bytes is small.
        try cluster.mock.inject([.init(code: 12)], into: .offsetCommit, broker: 1)
        let handled = Recorder()
        let problem = try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let events = consumer.events
            try await consumer.forEach(deadLetters: KafkaDeadLetters(producer: producer)) {
                delivery in
                if handled.record(key: "", Int(delivery.offset)) == 3 { Task { await consumer.close() } }
            }
            return try await events.first { if case .problem(let error, _) = $0 { error } else { nil } }
        }
        #expect(problem.code == "OFFSET_METADATA_TOO_LARGE")
        #expect(problem.recovery == .fixRequest)
        #expect(handled.numbers == ["": [0, 1, 2]])
        let offsets = GroupOffsets(cluster, configuration.group)
        #expect(try await offsets.committed(topic) == 3)
        #expect(try await offsets.metadata(topic, partitions: 0...0) == [:])
        await producer.close()
    }

    @Test func countingCrashesNeedsTheCommittedOffsetAsStart() async throws {
        let cluster = try TestCluster()
        var configuration = cluster.consumerConfiguration(topics: ["nowhere"])
        configuration.start = .beginning
        configuration.maximumCrashes = 2
        let error = #expect(throws: KafkaError.self) { try KafkaConsumer(configuration, logger: .test) }
        #expect(error?.kind == .invalidConfiguration)
    }

    @Test(arguments: ["perPartition", "perKey", "batch"])
    func aMessageThatKillsTheProcessBecomesADeadLetter(concurrency: String) async throws {
        let cluster = try TestCluster()
        let partitions = 3
        let count = 300
        let topic = try await cluster.makeTopic(partitions: partitions, name: "poison")
        let letters = try await cluster.makeTopic(name: "letters")
        var configuration = cluster.quickConsumer(topic)
        if !TestCluster.isMock, TestCluster.groupProtocol == .classic {
            // A static member that died comes back at once; of the consumer protocol it is refused.
            configuration.groupInstanceID = "child"
        }
        let poison = "141"
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let messages = (0..<count).map { number in
                KafkaMessage(topic: topic, partition: number % partitions, key: "\(number % 7)", value: "\(number)")
            }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        }
        let others = Set((0..<count).map { "\($0)" }).subtracting([poison])
        let run = try await runUntilItSurvives(
            cluster,
            configuration,
            letters: letters,
            concurrency: concurrency,
            fatal: [poison],
            until: [0: 100, 1: 100, 2: 100]
        )
        #expect(Set(run.handled) == others, "nothing is skipped")
        // Two that count, the one that probes, and the one that finds what that noted; and one for each commit that came in
        // between, which are the more the slower the machine is.
        #expect(run.starts >= 4)

        let message = try #require(run.letter)
        let letter = try #require(KafkaDeadLetter(message.headers))
        #expect(message.value == KafkaBytes(poison))
        #expect(message.key == "1")
        #expect(letter.originalTopic == topic)
        #expect(letter.originalPartition == 0)
        #expect(letter.originalOffset == 47)
        #expect(letter.exceptionType == "KafkaDelivery.KafkaPoisonMessage")
        // Fewer where something before it in its partition was committed since: then they are counted anew.
        #expect((letter.attempts ?? 0) >= 1)
        #expect(try await Kcat(cluster).count(letters, partition: 0) == 1)
        #expect(try await GroupOffsets(cluster, configuration.group).metadata(topic, partitions: 0...2) == [:])
    }
}
