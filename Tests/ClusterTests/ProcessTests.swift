import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What holds for a process of its own: the tool, seen from outside.
@Suite(.timeLimit(.minutes(5)))
struct ProcessTests {
    /// The tool, where `swift build --build-tests` puts it.
    private static let program = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        .appendingPathComponent("kafka-delivery").path

    private static func tool(_ arguments: [String]) throws -> ChildProcess {
        try ChildProcess(program, arguments)
    }

    @Test func aConsumerThatIsKilledBeforeItAcknowledgesLosesNothing() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 1)
        let configuration = cluster.quickConsumer(topic)
        // Delivered, written out, acknowledged; but killed before the acknowledgement is committed, which takes a second.
        let process = try Self.tool([
            "receive", topic, "--group", configuration.group, "--from", "beginning",
            "--bootstrap-servers", cluster.bootstrapServers.joined(separator: ","),
            "-X", "session.timeout.ms=\(TestCluster.isMock ? 4_000 : 6_000)",
        ])
        let written = await Self.read(process.output, count: 2)
        #expect(String(decoding: written, as: UTF8.self) == "0\n")
        kill(process.identifier, SIGKILL)
        #expect(process.wait() == SIGKILL)
        try await withKafkaConsumer(configuration, logger: .test) { consumer in
            let again = try await consumer.take(1)
            #expect(again.map(\.text) == ["0"])
            #expect(again.map(\.offset) == [0])
        }
    }

    #if os(Linux)
        @Test(arguments: ["--help", "demo", "experiment --json --messages 200 --modes at-most-once"])
        func whatCannotBePrintedIsAFailure(command: String) async throws {
            let process = try ChildProcess("/bin/sh", ["-c", "'\(Self.program)' \(command) 2>&1 > /dev/full"])
            let said = await process.lines().reduce(into: []) { $0.append($1) }
            #expect(await process.end() == .exit(1))
            #expect(said == ["kafka-delivery: standard output: No space left on device"])
        }

        @Test func aReceiverWhoseOutputIsFullEndsThoughNoOtherMessageComes() async throws {
            let cluster = try TestCluster()
            let topic = try await cluster.makeTopic()
            try await cluster.fill(topic, count: 1)
            let servers = cluster.bootstrapServers.joined(separator: ",")
            let command = "receive \(topic) --group \(topic) -b \(servers)"
            let process = try ChildProcess("/bin/sh", ["-c", "'\(Self.program)' \(command) 2>&1 > /dev/full"])
            let said = await process.lines().reduce(into: []) { $0.append($1) }
            #expect(await process.end() == .exit(1))
            #expect(said.contains { $0.contains("No space left on device") })
        }

        @Test func anIdleClientWakesUpForNothingOfItsOwn() async throws {
            let cluster = try TestCluster()
            let topic = try await cluster.makeTopic()
            try await cluster.fill(topic, count: 1)
            let servers = cluster.bootstrapServers.joined(separator: ",")
            let consumer = try Self.tool(["receive", topic, "--group", topic, "-b", servers])
            let producer = try Self.tool(["send", topic, "-b", servers])
            defer {
                for process in [consumer, producer] {
                    kill(process.identifier, SIGKILL)
                    _ = process.wait()
                }
            }
            _ = await Self.read(consumer.output, count: 2)
            for (process, name) in [(consumer, "kafka-consumer"), (producer, "kafka-producer")] {
                // What there was to do, the commit too, is over when the thread has not woken up while librdkafka's own has
                // done so several times: it does once a second.
                var quietRounds = 0
                while quietRounds < 2 {
                    let before = try Self.wakeUps(process, name)
                    let ticks = try Self.wakeUps(process, "rdk:main")
                    try await waitUntil { try Self.wakeUps(process, "rdk:main") >= ticks + 3 }
                    quietRounds = try Self.wakeUps(process, name) == before ? quietRounds + 1 : 0
                }
            }
        }

        /// How often a thread of a process has gone to sleep.
        private static func wakeUps(_ process: ChildProcess, _ name: String) throws -> Int {
            let tasks = "/proc/\(process.identifier)/task"
            for task in try FileManager.default.contentsOfDirectory(atPath: tasks) {
                let found = try? String(contentsOfFile: "\(tasks)/\(task)/comm", encoding: .utf8)
                guard found?.trimmingCharacters(in: .newlines) == name else { continue }
                let status = try String(contentsOfFile: "\(tasks)/\(task)/status", encoding: .utf8)
                let line = status.split(separator: "\n").first { $0.hasPrefix("voluntary_ctxt_switches") }
                return line.flatMap { $0.split(separator: "\t").last }.flatMap { Int($0) } ?? 0
            }
            return 0
        }
    #endif

    private static func read(_ handle: FileHandle, count: Int) async -> Data {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var data = Data()
                while data.count < count, let more = try? handle.read(upToCount: count - data.count), !more.isEmpty {
                    data += more
                }
                continuation.resume(returning: data)
            }
        }
    }
}
