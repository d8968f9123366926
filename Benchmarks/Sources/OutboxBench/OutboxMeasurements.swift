import Foundation
import KafkaDelivery
import Logging
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import Synchronization

/// What is measured, each against the same work without the outbox.
struct OutboxMeasurements {
    let place: BenchPlace
    let rows: Int
    let seconds: Int

    private func line(_ name: String, _ figure: String, _ against: String = "", _ ratio: Double? = nil) {
        let columns = [
            name.padding(toLength: 50, withPad: " ", startingAt: 0),
            figure.padding(toLength: 12, withPad: " ", startingAt: 0),
            against.padding(toLength: 12, withPad: " ", startingAt: 0),
            ratio.map { String(format: "%.2f", $0) } ?? "",
        ]
        print(columns.joined(separator: " "))
    }

    private func perSecond(_ count: Int, _ duration: Duration) -> Double {
        Double(count) / max(duration.inSeconds, 0.000_001)
    }

    private func text(_ rate: Double) -> String { String(format: "%.0f/s", rate) }

    private func milliseconds(_ duration: Duration) -> String { String(format: "%.1f ms", duration.inSeconds * 1_000) }

    /// Runs publishers until all rows are confirmed and gone.
    private func publish(
        _ publishers: Int,
        _ count: Int
    ) async throws -> (rate: Double, disordered: Int, processorTime: Double) {
        let target = try place.destination()
        let confirmations = Confirmations(target, notesOrder: true)
        let outbox = try place.outbox()
        let all = (0..<publishers).map { _ in
            OutboxPublisher(store: outbox, destinations: ["kafka": confirmations], logger: Self.quiet)
        }
        let start = ContinuousClock.now
        let before = Self.processorTime()
        let tasks = all.map { publisher in Task { try await publisher.run() } }
        await confirmations.wait(for: count)
        let duration = start.duration(to: .now)
        let processorTime = Self.processorTime() - before
        for publisher in all { await publisher.close() }
        for task in tasks { try await task.value }
        await target.close()
        await outbox.close()
        return (perSecond(count, duration), confirmations.disordered, processorTime)
    }

    static var quiet: Logger {
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        return logger
    }

    /// Without an outbox's care: reads all rows in one query, sends them, and marks nothing.
    ///
    /// - Parameter withOwnHeaders: The records have the row's number and time in their headers, as those of a publisher.
    private func bare(
        _ connection: LibpqConnection,
        withOwnHeaders: Bool
    ) async throws -> (rate: Double, processorTime: Double) {
        let producer = try KafkaProducer(.init(bootstrapServers: place.servers), logger: Self.quiet)
        try await producer.send(KafkaMessage(topic: place.topic, value: "first"))
        let start = ContinuousClock.now
        let before = Self.processorTime()
        let own = withOwnHeaders ? ", slot, id, created_at" : ""
        let read = try await connection.query(
            OutboxStatement("SELECT topic, key, payload, idempotency_key\(own) FROM outbox ORDER BY id"),
            within: .seconds(600)
        )
        let messages = (0..<read.count).map { row in
            var headers = [KafkaHeader(KafkaMessage.idempotencyKeyHeader, read.text(row, 3))]
            if withOwnHeaders {
                let number = String(read.integer(row, 4) ?? 0) + "/" + String(read.integer(row, 5) ?? 0)
                headers.append(KafkaHeader("outbox-event-id", number))
                // PostgreSQL counts microseconds since 2000.
                let created = 946_684_800_000 + (read.integer(row, 6) ?? 0) / 1_000
                headers.append(KafkaHeader("outbox-created-at", String(created)))
            }
            return KafkaMessage(
                topic: read.text(row, 0) ?? "",
                key: read.bytes(row, 1),
                value: read.bytes(row, 2),
                headers: KafkaHeaders(headers)
            )
        }
        _ = await producer.send(contentsOf: messages)
        let rate = perSecond(rows, start.duration(to: .now))
        let processorTime = Self.processorTime() - before
        await producer.close()
        return (rate, processorTime)
    }

    func backlog() async throws {
        let connection = try await place.connect()
        // By turns, and the one in the middle of each: they take long enough for the machine to be faster or slower.
        var plainLoops: [(rate: Double, processorTime: Double)] = []
        var sameLoops = plainLoops
        var publishers: [(rate: Double, disordered: Int, processorTime: Double)] = []
        for _ in 0..<3 {
            try await place.fill(connection, rows)
            plainLoops.append(try await bare(connection, withOwnHeaders: false))
            sameLoops.append(try await bare(connection, withOwnHeaders: true))
            publishers.append(try await publish(1, rows))
            try await connection.query(OutboxStatement("TRUNCATE outbox"))
        }
        let disordered = publishers.reduce(0) { $0 + $1.disordered }
        let plain = plainLoops.map(\.rate).sorted()[1]
        let (same, bareTime) = sameLoops.sorted { $0.rate < $1.rate }[1]
        let one = publishers.sorted { $0.rate < $1.rate }[1]
        line("backlog of \(rows) to acks, 1 publisher", text(one.rate), text(plain), one.rate / plain)
        line("the same, against a loop that sends such records", text(one.rate), text(same), one.rate / same)
        let each = { (time: Double) in String(format: "%.1f µs", time / Double(rows) * 1_000_000) }
        let ratio = one.processorTime / max(bareTime, 0.000_001)
        line("processor time a row, of this process", each(one.processorTime), each(bareTime), ratio)
        try await place.fill(connection, rows)
        let four = try await publish(4, rows)
        line("the same, 4 publishers, against 1", text(four.rate), text(one.rate), four.rate / one.rate)
        line("violations of a key's order in all", "\(disordered + four.disordered)")
        await connection.close()
    }

    func latency() async throws {
        let connection = try await place.connect()
        let count = 50 * seconds
        // A notification's way, and then an awaited send.
        let producer = try KafkaProducer(.init(bootstrapServers: place.servers), logger: Self.quiet)
        try await connection.query(OutboxStatement("LISTEN bench"))
        var bare: [Duration] = []
        for number in 0..<count {
            let start = ContinuousClock.now
            try await connection.query(OutboxStatement("NOTIFY bench"))
            _ = await connection.waitForNotification(atMost: .seconds(10))
            try await producer.send(KafkaMessage(topic: place.topic, key: "\(number)", value: "x"))
            bare.append(start.duration(to: .now))
            try await Task.sleep(for: .milliseconds(20))
        }
        await producer.close()

        let target = try place.destination()
        let confirmations = Confirmations(target, notesTimes: true)
        let outbox = try place.outbox()
        let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": confirmations], logger: Self.quiet)
        let running = Task { try await publisher.run() }
        let waker = OutboxWaker { try await outbox.wake() }
        var commits: [String: ContinuousClock.Instant] = [:]
        for number in 0..<count + 10 {
            let message = OutboxMessage(
                topic: place.topic,
                key: "\(number)",
                payload: String(repeating: "x", count: 200)
            )
            try await connection.query(outbox.table.insert(message))
            // The first ones find a publisher that is still to begin.
            if number >= 10 { commits[message.idempotencyKey] = .now }
            waker.wake()
            if number == 9 { await confirmations.wait(for: 10) }
            try await Task.sleep(for: .milliseconds(20))
        }
        await confirmations.wait(for: count + 10)
        let times = confirmations.times
        let own = commits.compactMap { key, commit in times[key].map { commit.duration(to: $0) } }
        await publisher.close()
        try await running.value
        await target.close()
        await outbox.close()
        await connection.close()
        for (name, percent) in [("p50", 50), ("p99", 99)] {
            let (one, other) = (percentile(own, percent), percentile(bare, percent))
            line("commit to ack at 50/s, \(name)", milliseconds(one), milliseconds(other), one / other)
        }
    }

    private func percentile(_ durations: [Duration], _ percent: Int) -> Duration {
        let sorted = durations.sorted()
        return sorted.isEmpty ? .zero : sorted[min(sorted.count - 1, sorted.count * percent / 100)]
    }

    func writers() async throws {
        let setUp = try await place.connect()
        try await setUp.query(OutboxStatement("CREATE TABLE orders (id int PRIMARY KEY, number int NOT NULL)"))
        try await setUp.query(OutboxStatement("INSERT INTO orders SELECT n, 0 FROM generate_series(0, 31) n"))
        let table = try place.outbox().table
        let topic = place.topic
        let change: @Sendable (Int) -> OutboxStatement = { id in
            OutboxStatement("UPDATE orders SET number = number + 1 WHERE id = $1 RETURNING id", [.integer(Int64(id))])
        }
        let loads = [
            ("one statement", 0, 0), ("one, prepared", 10, 0),
            ("one, 4 ms a flush", 0, 4_000), ("one, prepared, 4 ms", 10, 4_000),
        ]
        for (name, prepared, flushDelay) in loads {
            var with: [Double] = []
            var without: [Double] = []
            for _ in 0..<3 {
                without.append(try await load(prepared: prepared, flushDelay: flushDelay, change))
                with.append(
                    try await load(prepared: prepared, flushDelay: flushDelay) { id in
                        let payload = String(repeating: "x", count: 200)
                        let message = OutboxMessage(topic: topic, key: "\(id)", payload: payload)
                        return (try? table.insert(message, with: change(id))) ?? change(id)
                    }
                )
                try await setUp.query(OutboxStatement("TRUNCATE outbox"))
            }
            let (one, other) = (with.sorted()[1], without.sorted()[1])
            line("32 connections, with the event in \(name)", text(one), text(other), one / other)
        }
        await setUp.close()
    }

    /// Commits a second of 32 connections.
    private func load(
        prepared: Int,
        flushDelay: Int,
        _ statement: @escaping @Sendable (Int) -> OutboxStatement
    ) async throws -> Double {
        let deadline = ContinuousClock.now.advanced(by: .seconds(seconds))
        let start = ContinuousClock.now
        let count = try await withThrowingTaskGroup(of: Int.self) { group in
            for id in 0..<32 {
                group.addTask {
                    let connection = try await place.connect(prepared: prepared, flushDelay: flushDelay)
                    var count = 0
                    while ContinuousClock.now < deadline {
                        try await connection.query(statement(id))
                        count += 1
                    }
                    await connection.close()
                    return count
                }
            }
            return try await group.reduce(0, +)
        }
        return perSecond(count, start.duration(to: .now))
    }

    func idle() async throws {
        let target = try place.destination()
        let outbox = try place.outbox()
        let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": target], logger: Self.quiet)
        let running = Task { try await publisher.run() }
        try await Task.sleep(for: .seconds(3))
        let before = Self.processorTime()
        let start = ContinuousClock.now
        try await Task.sleep(for: .seconds(max(seconds, 5)))
        let share = (Self.processorTime() - before) / start.duration(to: .now).inSeconds
        await publisher.close()
        try await running.value
        await target.close()
        await outbox.close()
        line("idle publisher, of a core", String(format: "%.2f %%", share * 100))
    }

    func memory(_ count: Int) async throws {
        let connection = try await place.connect()
        try await place.fill(connection, count)
        await connection.close()
        let before = Self.residentBytes()
        let target = try place.destination()
        let confirmations = Confirmations(target)
        let outbox = try place.outbox()
        let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": confirmations], logger: Self.quiet)
        let running = Task { try await publisher.run() }
        var peak = 0
        var step = 1
        while step <= 10 {
            await confirmations.wait(for: count / 10 * step)
            peak = max(peak, Self.residentBytes())
            step += 1
        }
        await publisher.close()
        try await running.value
        await target.close()
        await outbox.close()
        let text = { (bytes: Int) in "\(bytes / 1_000_000) MB" }
        line("resident memory, backlog of \(count)", text(peak), text(before))
    }

    /// How long reads take in all while 2,500 events a second are written, without and with a snapshot that is held elsewhere, which
    /// keeps vacuum from removing what is published.
    func longReader(_ seconds: Int) async throws {
        let without = try await claims(seconds)
        let reader = try await place.connect()
        let with = try await reader.withTransaction(isolation: .repeatableRead) { transaction in
            try await transaction.query(OutboxStatement("SELECT count(*) FROM outbox"))
            return try await claims(seconds)
        }
        await reader.close()
        let text = { (time: Duration) in String(format: "%.2f s", time.inSeconds) }
        line("reads in \(seconds) s, with a long reader elsewhere", text(with), text(without), with / without)
    }

    private func claims(_ seconds: Int) async throws -> Duration {
        let connection = try await place.connect()
        let outbox = try place.outbox()
        let store = ClaimTimes(outbox)
        let target = try place.destination()
        let confirmations = Confirmations(target)
        let publisher = OutboxPublisher(store: store, destinations: ["kafka": confirmations], logger: Self.quiet)
        let running = Task { try await publisher.run() }
        let start = ContinuousClock.now
        for step in 0..<(seconds * 10) {
            // Time is what is measured: so many a second.
            try await Task.sleep(until: start.advanced(by: .milliseconds(100 * step)), clock: .continuous)
            try await place.insert(connection, 250)
            try await connection.query(outbox.table.wakeStatement)
        }
        await confirmations.wait(for: seconds * 2_500)
        await publisher.close()
        try await running.value
        await target.close()
        await outbox.close()
        await connection.close()
        return store.total
    }

    private static func processorTime() -> Double {
        var usage = rusage()
        #if canImport(Darwin)
            getrusage(RUSAGE_SELF, &usage)
        #else
            getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        #endif
        let time = { (value: timeval) in Double(value.tv_sec) + Double(value.tv_usec) / 1_000_000 }
        return time(usage.ru_utime) + time(usage.ru_stime)
    }

    /// Of Linux; zero elsewhere.
    private static func residentBytes() -> Int {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }

    static func / (one: Duration, other: Duration) -> Double {
        one.inSeconds / max(other.inSeconds, 0.000_001)
    }
}
