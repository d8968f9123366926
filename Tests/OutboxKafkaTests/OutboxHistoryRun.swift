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
    let kills = Atomic(0)
    let faults = Mutex<[String]>([])
    /// Rows that the publisher's sweep found where none can be.
    let belowFloor = Atomic(0)

    private let server: PostgresServer
    /// Nil on a real cluster.
    private let mock: MockCluster?
    private let brokers: [String]
    /// The topic's, and that of transactional ids.
    private let name: String
    private var topic: String { name }
    /// A mock broker keeps 5 MiB of a partition, and forgets the oldest records then. On a real one the topic has a first partition
    /// at least, whoever makes it.
    private let partitions: Int
    private let isExactlyOnce: Bool
    private let progress: HistoryProgress

    /// - Parameter isExactlyOnce: Takes a real cluster.
    init(seed: UInt64, eventCount: Int, isExactlyOnce: Bool) async throws {
        self.seed = seed
        self.isExactlyOnce = isExactlyOnce
        progress = HistoryProgress(goal: eventCount)
        name = "history" + String(UInt64.random(in: .min ... .max), radix: 36)
        server = try await PostgresServer.start()
        if let real = ExactlyOnceFixture.realServers {
            (mock, brokers, partitions) = (nil, real, 1)
            // Makes the topic.
            _ = try await TopicReader.all(name, partitions: 1, servers: real)
        } else {
            let mock = try MockCluster(brokers: 3, checksSequences: true)
            partitions = max(4, eventCount / 2_000)
            try mock.createTopic(name, partitions: partitions, replicationFactor: 3)
            (self.mock, brokers) = (mock, mock.bootstrapServers)
        }
    }

    /// What rows have to be sent to a partition by.
    private var attributes: [String: String] { mock == nil ? ["partition": "0"] : [:] }

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
    private var isWriting: Bool { progress.isWriting && !Task.isCancelled }

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
                let (topic, attributes) = (topic, attributes)
                let count = try await current.withTransaction { transaction in
                    if drawsEarly {
                        // Without a key it is in nobody's order; the transaction has its number, and is open, long before the rest.
                        // In the ledger it is a key of its own.
                        let name = "early-" + String(UInt64.random(in: .min ... .max, using: &generator), radix: 36)
                        try await transaction.query(
                            OutboxStatement("INSERT INTO ledger VALUES ($1, 0)", [.text(name)])
                        )
                        try await transaction.query(
                            table.insert(OutboxMessage(topic: topic, payload: name, attributes: ["partition": "0"]))
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
                            table.insert(
                                OutboxMessage(topic: topic, key: key, payload: "\(number)", attributes: attributes)
                            )
                        )
                        count += 1
                    }
                    if isUndone { throw Undo() }
                    return count
                }
                progress.add(count)
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
        var kafka = KafkaProducer.Configuration(bootstrapServers: brokers)
        relay.route(&kafka)
        var logger = Logger(label: "history")
        logger.logLevel = .critical
        let atLeastOnce = try KafkaOutboxDestination(kafka, logger: logger)
        let destination: any OutboxDestination =
            isExactlyOnce
            ? try KafkaExactlyOnceDestination(.init(name: name, producer: kafka), logger: logger) : atLeastOnce
        let port = try relay.port(for: "127.0.0.1", port: server.port)
        var configuration = try PostgresOutbox.Configuration(
            LibpqSettings("postgres://postgres@127.0.0.1:\(port)/postgres")
        )
        configuration.sessionTimeout = .seconds(2)
        // A floor that passes a row is told, and not only mended.
        configuration.sweepInterval = .milliseconds(500)
        configuration.connection.connectTimeout = .seconds(2)
        let publisher = OutboxPublisher(
            store: try PostgresOutbox(configuration),
            destinations: ["kafka": destination],
            logger: logger
        )
        async let running: Void = publisher.run()
        async let watching: Void = watch(publisher)
        await progress.waitUntilDrained()
        await publisher.close(within: .seconds(5))
        try await running
        await watching
        await atLeastOnce.close(within: .seconds(5))
    }

    private func watch(_ publisher: OutboxPublisher) async {
        for await event in publisher.events {
            if case .maintained(let found) = event { belowFloor.add(found.foundBelowFloor, ordering: .relaxed) }
        }
    }

    private func publishInProcesses() async throws {
        var generator = SeededGenerator(seed: seed ^ 0xABCD)
        var number = 0
        while isWriting {
            // One to three at a time, so that slots move.
            var processes: [(session: String, process: ChildProcess)] = []
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                number += 1
                let session = "publisher-\(number)"
                let url = server.url + "?application_name=" + session
                let process = try ChildProcess(
                    Self.publisherProgram,
                    [url, brokers.joined(separator: ","), "2", isExactlyOnce ? name : "-"],
                    errors: ProcessInfo.processInfo.environment["OUTBOX_HISTORY_LOG"] ?? "/dev/null"
                )
                processes.append((session, process))
            }
            for (session, process) in processes {
                await progress.wait(forMore: Int.random(in: 200...1_000, using: &generator))
                if Int.random(in: 0..<4, using: &generator) == 0, isWriting {
                    // Past its time-out; then it goes on, and finds that it owns nothing.
                    note("SIGSTOP")
                    process.send(signal: SIGSTOP)
                    await waitForSession(session, isThere: false)
                    process.send(signal: SIGCONT)
                    await waitForSession(session, isThere: true)
                }
                note("SIGKILL")
                kills.add(1, ordering: .relaxed)
                process.send(signal: SIGKILL)
                _ = await process.end()
            }
        }
    }

    /// Waits until the server has a session of that name, or none, or the writers are done.
    private func waitForSession(_ name: String, isThere: Bool) async {
        let count = OutboxStatement("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", [.text(name)])
        while isWriting {
            guard let connection = try? await LibpqConnection.open(LibpqSettings(server.url)) else { continue }
            while isWriting, let rows = try? await connection.query(count) {
                if (rows.integer(0, 0) ?? 0 > 0) == isThere {
                    await connection.close()
                    return
                }
            }
            await connection.close()
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
            await progress.wait(forMore: Int.random(in: 100...700, using: &generator))
            // The last two are a mock cluster's.
            switch Int.random(in: 0..<(mock == nil ? 6 : 8), using: &generator) {
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
                await progress.wait(forMore: Int.random(in: 100...2_500, using: &generator))
                relay.faults.responses.isBlackHole = false
            case 5:
                note("lost confirmations")
                relay.loseResponses()
            case 6:
                note("brokers down")
                try mock?.takeDown()
                await progress.wait(forMore: Int.random(in: 50...800, using: &generator))
                try mock?.bringUp()
            default:
                note("refused")
                try? mock?.inject([.notEnoughReplicas, .requestTimedOut], into: .produce)
            }
        }
        relay.faults = .init()
    }

    // MARK: The end

    private func waitUntilDrained() async throws {
        await progress.waitUntilWritten()
        let deadline = ContinuousClock.now.advanced(by: .seconds(120))
        var isEmpty = false
        while !isEmpty, ContinuousClock.now < deadline, !Task.isCancelled {
            try await Task.sleep(for: .milliseconds(10))
            guard let connection = try? await LibpqConnection.open(LibpqSettings(server.url)) else { continue }
            let statement = OutboxStatement("SELECT count(*) FROM (SELECT FROM outbox LIMIT 1) one")
            while !isEmpty, ContinuousClock.now < deadline, let rows = try? await connection.query(statement) {
                isEmpty = rows.integer(0, 0) == 0
                if !isEmpty { try await Task.sleep(for: .milliseconds(10)) }
            }
            await connection.close()
        }
        progress.drained()
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
        let records = try await TopicReader.all(topic, partitions: partitions, servers: brokers)
        let arrived = records.map { record in
            let event =
                record.key.map { OutboxHistory.Event(key: $0, number: Int(record.value) ?? -1) }
                ?? OutboxHistory.Event(key: record.value, number: 0)
            return (event: event, idempotencyKey: record.idempotencyKey)
        }
        await outbox.close()
        await server.shutdown()
        await mock?.shutdown()
        return OutboxHistory.check(committed: committed, arrived: arrived)
    }
}
