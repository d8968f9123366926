import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// `kafka-delivery receive`, seen from outside.
@Suite(.timeLimit(.minutes(5)))
final class ReceiveProcessTests {
    private let folder = FileManager.default.temporaryDirectory
        .appendingPathComponent("kafka-delivery-\(UInt64.random(in: 0 ... .max))")

    init() throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(at: folder)
    }

    private func receive(
        _ topic: String,
        _ group: String,
        _ cluster: TestCluster,
        _ arguments: [String],
        errors: String = "errors"
    ) throws -> ChildProcess {
        let program = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
            .appendingPathComponent("kafka-delivery").path
        return try ChildProcess(
            program,
            [
                "receive", topic, "--group", group, "-b", cluster.bootstrapServers.joined(separator: ","),
                "-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=200",
            ] + arguments,
            errors: folder.appendingPathComponent(errors).path
        )
    }

    private func said(_ errors: String = "errors") -> String {
        // Not through String(contentsOf:), which leaks where the file is empty still.
        guard let file = FileHandle(forReadingAtPath: folder.appendingPathComponent(errors).path) else { return "" }
        defer { try? file.close() }
        return (try? file.readToEnd()).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    private func waitUntilSaid(_ text: String) async throws {
        try await waitUntil { said().contains(text) }
    }

    @Test func itIsNotTheEndBeforeThePartitionsOfAMemberThatWasKilledAreRead() async throws {
        let cluster = try TestCluster()
        let (partitions, count) = (4, 30)
        let topic = try await cluster.makeTopic(partitions: partitions)
        let value = String(repeating: "x", count: 10_000)
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            let messages = (0..<partitions * count).map { number in
                KafkaMessage(topic: topic, partition: number % partitions, value: value)
            }
            for result in await producer.send(contentsOf: messages) { _ = try result.get() }
        }
        let group = TestCluster.uniqueName("group")
        // It has the partitions, and does not get on: a pipe takes less than there is. When the other joins, it keeps the
        // group waiting for a third of max.poll.interval.ms; a mock broker puts it out where that is longer than a session.
        let ghost = try receive(
            topic,
            group,
            cluster,
            ["--from", "beginning", "-X", "max.poll.interval.ms=6000"],
            errors: "ghost"
        )
        _ = try await onThread { ghost.nextOutput() }
        let process = try receive(topic, group, cluster, ["--until-end", "--format", "%p %o\\n"])
        let lines = Task { await process.lines().reduce(into: []) { $0.append($1) } }
        try await waitUntilSaid("which other members")
        kill(ghost.identifier, SIGKILL)
        #expect(ghost.wait() == SIGKILL)
        #expect(await process.end() == .exit(0))
        let committed = try await GroupOffsets(cluster, group).committed(topic, partitions: 0...partitions - 1)
        #expect(committed == Dictionary(uniqueKeysWithValues: (0..<partitions).map { ($0, Int64(count)) }))
        // Whatever the ghost had committed, the rest of every partition is there.
        #expect(await lines.value.count { $0.hasSuffix(" \(count - 1)") } == partitions)
    }

    @Test func anEndThatWasAskedForAndDidNotComeIsNoSuccess() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        let process = try receive(topic, TestCluster.uniqueName("group"), cluster, ["--count", "5"])
        let lines = process.lines()
        for await line in lines where line == "2" { break }
        process.send(signal: SIGTERM)
        #expect(await process.end() == .exit(128 + SIGTERM))
        #expect(said().contains("interrupted before the end"))
        // Without an end that was asked for, a signal is the end.
        let endless = try receive(topic, TestCluster.uniqueName("group"), cluster, [])
        for await line in endless.lines() where line == "2" { break }
        endless.send(signal: SIGTERM)
        #expect(await endless.end() == .exit(0))
    }

    @Test(.enabled(if: TestCluster.isMock, "takes brokers down"))
    func whatWasAcknowledgedAndLostWithItsPartitionIsCountedInTheLastLineAndTheStatus() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 3)
        // Not one commit gets through.
        try cluster.mock.inject(.init(repeating: .coordinatorNotAvailable, count: 10_000), into: .offsetCommit)
        let process = try receive(topic, TestCluster.uniqueName("group"), cluster, [])
        for await line in process.lines() where line == "2" { break }
        try cluster.mock.takeDown()
        // The session runs out by the member's own clock.
        try await waitUntilSaid("3 acknowledged messages of \(topic) [0] could not be committed")
        process.send(signal: SIGINT)
        #expect(await process.end() == .exit(1))
        #expect(said().contains("3 acknowledged messages could not be committed"))
    }

    @Test(.enabled(if: !TestCluster.isMock, "a mock group takes any member"))
    func aGroupThatRefusesTheMemberEndsItWithTheReason() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let configuration = cluster.quickConsumer(topic, strategy: .cooperativeSticky, groupProtocol: .classic)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            _ = try await consumer.take(1)
            let process = try receive(
                topic,
                configuration.group,
                cluster,
                ["-X", "partition.assignment.strategy=range"]
            )
            #expect(await process.end() == .exit(1))
            #expect(said().contains("cannot be joined") && said().contains("range"))
        }
    }
}
