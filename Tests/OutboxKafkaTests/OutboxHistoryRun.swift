import DeliveryTesting
import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import OutboxTesting
import Synchronization

/// Writers, publishers and faults, all of them from one seed; then what was committed is compared with what Kafka has.
final class OutboxHistoryRun: Sendable {
    let seed: UInt64
    let eventCount: Int
    let kills = Atomic(0)
    let faults = Mutex<[String]>([])

    private let server: PostgresServer
    private let cluster: MockCluster
    private let topic = "history"
    /// A mock broker keeps 5 MiB of a partition, and forgets the oldest records then.
    private let partitions: Int
    private let written = Atomic(0)
    private let isDone = Atomic(false)

    init(seed: UInt64, eventCount: Int) async throws {
        self.seed = seed
        self.eventCount = eventCount
        self.partitions = max(4, eventCount / 2_000)
        server = try await PostgresServer.start()
        cluster = try MockCluster(brokers: 3, checksSequences: true)
        try cluster.createTopic(topic, partitions: partitions, replicationFactor: 3)
    }

    func run() async throws -> OutboxHistory.Result {
        let outbox = try PostgresOutbox(.init(LibpqSettings(server.url)))
        try await outbox.migrate()
        let setUp = try await LibpqConnection.open(LibpqSettings(server.url))
        try await setUp.query(OutboxStatement("CREATE TABLE counters (key text PRIMARY KEY, number int NOT NULL)"))
        try await setUp.query(OutboxStatement("INSERT INTO counters SELECT 'k' || n, 0 FROM generate_series(0, 49) n"))
        try await setUp.query(OutboxStatement("CREATE TABLE ledger (key text, number int, PRIMARY KEY (key, number))"))
        await setUp.close()

        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<6 as Range<UInt64> {
                group.addTask { try await self.write(seed: self.seed &* 31 &+ writer) }
            }
            // One in this process, through a bad network on both sides, and others that are killed.
            let relay = try FaultRelay(seed: seed)
            group.addTask { try await self.publishHere(relay) }
            group.addTask { try await self.publishInProcesses() }
            group.addTask { try await self.disturb(relay) }
            group.addTask { try await self.waitUntilDrained() }
            try await group.waitForAll()
            await relay.shutdown()
        }
        return try await check(outbox)
    }

    /// A part that fails cancels the others.
    private var isWriting: Bool { written.load(ordering: .relaxed) < eventCount && !Task.isCancelled }

    private func note(_ fault: String) {
        faults.withLock { $0.append(fault) }
    }

    // MARK: Writers

    /// Transactions that draw a number early, for another key, and change and append then; some are rolled back.
    private func write(seed: UInt64) async throws {
        struct Undo: Error {}
        var generator = SeededGenerator(seed: seed)
        let table = try OutboxTable(.postgresql)
        var connection: LibpqConnection?
        while isWriting {
            do {
                let current: LibpqConnection
                if let connection {
                    current = connection
                } else {
                    current = try await LibpqConnection.open(LibpqSettings(server.url))
                    connection = current
                }
                let keys = (0..<Int.random(in: 1...3, using: &generator)).map { _ in
                    "k\(Int.random(in: 0..<50, using: &generator))"
                }
                let isUndone = Int.random(in: 0..<20, using: &generator) == 0
                let drawsEarly = Int.random(in: 0..<3, using: &generator) == 0
                let topic = topic
                let count = try await current.withTransaction { transaction in
                    if drawsEarly {
                        // Without a key it is in nobody's order; the transaction has its number, and is open, long before the rest.
                        try await transaction.query(
                            table.insert(OutboxMessage(topic: topic, payload: "early", attributes: ["partition": "0"]))
                        )
                    }
                    var count = 0
                    // In one order, or writers would wait for each other in a circle.
                    for key in Set(keys).sorted() {
                        let rows = try await transaction.query(
                            OutboxStatement(
                                "UPDATE counters SET number = number + 1 WHERE key = $1 RETURNING number",
                                [.text(key)]
                            )
                        )
                        let number = rows.integer(0, 0) ?? -1
                        try await transaction.query(
                            OutboxStatement("INSERT INTO ledger VALUES ($1, $2)", [.text(key), .integer(number)])
                        )
                        try await transaction.query(
                            table.insert(OutboxMessage(topic: topic, key: key, payload: "\(number)"))
                        )
                        count += 1
                    }
                    if isUndone { throw Undo() }
                    return count
                }
                written.add(count, ordering: .relaxed)
            } catch is Undo {
                continue
            } catch let error as OutboxError where error.recovery == .retry || error.kind == .unavailable {
                await connection?.close()
                connection = nil
            }
        }
        await connection?.close()
        if Int.random(in: 0..<2, using: &generator) == 0 { try? await outboxWake() }
    }

    private func outboxWake() async throws {
        let connection = try await LibpqConnection.open(LibpqSettings(server.url))
        try await connection.query(try OutboxTable(.postgresql).wakeStatement)
        await connection.close()
    }

    // MARK: Publishers

    private func publishHere(_ relay: FaultRelay) async throws {
        var kafka = KafkaProducer.Configuration(bootstrapServers: cluster.bootstrapServers)
        relay.route(&kafka)
        var logger = Logger(label: "history")
        logger.logLevel = .critical
        let destination = try KafkaOutboxDestination(kafka, logger: logger)
        let port = try relay.port(for: "127.0.0.1", port: server.port)
        var configuration = try PostgresOutbox.Configuration(
            LibpqSettings("postgres://postgres@127.0.0.1:\(port)/postgres")
        )
        configuration.sessionTimeout = .seconds(2)
        configuration.connection.connectTimeout = .seconds(2)
        let publisher = OutboxPublisher(
            store: try PostgresOutbox(configuration),
            destinations: ["kafka": destination],
            logger: logger
        )
        async let running: Void = publisher.run()
        while !isDone.load(ordering: .relaxed), !Task.isCancelled { try await Task.sleep(for: .milliseconds(20)) }
        await publisher.close(within: .seconds(5))
        try await running
        await destination.close(within: .seconds(5))
    }

    private func publishInProcesses() async throws {
        var generator = SeededGenerator(seed: seed ^ 0xABCD)
        while !isDone.load(ordering: .relaxed), !Task.isCancelled {
            // One to three at a time, so that slots move.
            let processes = try (0..<Int.random(in: 1...3, using: &generator)).map { _ in
                try ChildProcess(
                    Self.publisherProgram,
                    [server.url, cluster.bootstrapServers.joined(separator: ","), "2"],
                    errors: ProcessInfo.processInfo.environment["OUTBOX_HISTORY_LOG"] ?? "/dev/null"
                )
            }
            for process in processes {
                if !isDone.load(ordering: .relaxed) {
                    try await Task.sleep(for: .milliseconds(Int.random(in: 200...1_200, using: &generator)))
                }
                if Int.random(in: 0..<4, using: &generator) == 0, !isDone.load(ordering: .relaxed) {
                    // Past its time-out; then it goes on, and finds that it owns nothing.
                    note("SIGSTOP")
                    process.send(signal: SIGSTOP)
                    try await Task.sleep(for: .milliseconds(2_500))
                    process.send(signal: SIGCONT)
                    try await Task.sleep(for: .milliseconds(300))
                }
                note("SIGKILL")
                kills.add(1, ordering: .relaxed)
                process.send(signal: SIGKILL)
                _ = await process.end()
            }
        }
    }

    /// Next to the tests, where the build put it.
    static let publisherProgram: String = {
        let own = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        var folder = own.deletingLastPathComponent()
        while folder.path != "/" {
            let program = folder.appendingPathComponent("TestPublisher").path
            if FileManager.default.isExecutableFile(atPath: program) { return program }
            folder.deleteLastPathComponent()
        }
        return "TestPublisher"
    }()

    // MARK: Faults

    private func disturb(_ relay: FaultRelay) async throws {
        var generator = SeededGenerator(seed: seed ^ 0x1234)
        let terminate = OutboxStatement(
            """
            SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND objid = 32 AND objsubid = 2 ORDER BY random() LIMIT 1
            """
        )
        while isWriting {
            // Faults come at moments of their own; nothing signals them.
            try await Task.sleep(for: .milliseconds(Int.random(in: 100...700, using: &generator)))
            switch Int.random(in: 0..<8, using: &generator) {
            case 0, 1:
                note("pg_terminate_backend")
                if let connection = try? await LibpqConnection.open(LibpqSettings(server.url)) {
                    _ = try? await connection.query(terminate)
                    await connection.close()
                }
            case 2:
                note("immediate restart")
                try await server.restart(.immediate)
            case 3:
                note("cut")
                relay.cutConnections()
            case 4:
                note("black hole")
                relay.faults.responses.isBlackHole = true
                try await Task.sleep(for: .milliseconds(Int.random(in: 100...2_500, using: &generator)))
                relay.faults.responses.isBlackHole = false
            case 5:
                note("lost confirmations")
                relay.loseResponses()
            case 6:
                note("brokers down")
                try cluster.takeDown()
                try await Task.sleep(for: .milliseconds(Int.random(in: 50...800, using: &generator)))
                try cluster.bringUp()
            default:
                note("refused")
                try? cluster.inject([.notEnoughReplicas, .requestTimedOut], into: .produce)
            }
        }
        relay.faults = .init()
    }

    // MARK: The end

    private func waitUntilDrained() async throws {
        while isWriting { try await Task.sleep(for: .milliseconds(50)) }
        var left: Int64 = -1
        let deadline = ContinuousClock.now.advanced(by: .seconds(120))
        while left != 0, ContinuousClock.now < deadline, !Task.isCancelled {
            guard let connection = try? await LibpqConnection.open(LibpqSettings(server.url)) else { continue }
            let rows = try? await connection.query(OutboxStatement("SELECT count(*) FROM outbox"))
            left = rows?.integer(0, 0) ?? -1
            await connection.close()
            if left != 0 { try await Task.sleep(for: .milliseconds(50)) }
        }
        isDone.store(true, ordering: .relaxed)
    }

    private func check(_ outbox: PostgresOutbox) async throws -> OutboxHistory.Result {
        let connection = try await LibpqConnection.open(LibpqSettings(server.url))
        let rows = try await connection.query(OutboxStatement("SELECT key, number FROM ledger"))
        let committed = Set(
            (0..<rows.count).map {
                OutboxHistory.Event(key: rows.text($0, 0) ?? "", number: Int(rows.integer($0, 1) ?? -1))
            }
        )
        await connection.close()
        let records = try await TopicReader.all(topic, partitions: partitions, servers: cluster.bootstrapServers)
        let arrived = records.compactMap { record in
            record.key.map {
                (
                    event: OutboxHistory.Event(key: $0, number: Int(record.value) ?? -1),
                    idempotencyKey: record.idempotencyKey
                )
            }
        }
        await outbox.close()
        await server.shutdown()
        await cluster.shutdown()
        return OutboxHistory.check(committed: committed, arrived: arrived)
    }
}
