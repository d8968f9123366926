import Dispatch
import KafkaDelivery
import Logging
import ToolSupport

/// The two confirmations, one after the other, on real events; and what happens to one that cannot be handled.
struct Demo: Sendable {
    static let topic = "earthquakes"
    static let deadLetterTopic = "earthquakes-dlt"
    static let group = "kafka-delivery-demo"

    /// How many sends are awaited at a time.
    private static let senders = 32
    /// How long to wait for what was confirmed to come back.
    private static let patience = 60

    private struct Position: Hashable, Sendable {
        let partition: Int
        let offset: Int64
    }

    /// What sending came to.
    private struct Sent: Sendable {
        var positions: [Position] = []
        var roundTrips: [Duration] = []
        var firstRoundTrip = Duration.zero
        var elapsed = Duration.zero
    }

    /// What receiving came to.
    private struct Received: Sendable {
        var arrivals: [DemoCharts.Arrival] = []
        var times: [Position: Int] = [:]
        var earlier = 0
        var acknowledged = 0
        var elapsed = Duration.zero
        var commitFailure: KafkaError?
    }

    let lines: [[UInt8]]
    let path: String
    let isMock: Bool
    let producer: KafkaProducer.Configuration
    let consumer: KafkaConsumer.Configuration
    let redrive: KafkaRedrive.Configuration
    let logger: Logger
    let style = Style.standardOutput

    func run() async throws {
        let address = producer.bootstrapServers.joined(separator: ",")
        say(isMock ? "A mock cluster runs in this process, at \(address)." : "The cluster is at \(address).")
        say("Sending \(count(lines.count, "event")) of \(Platform.shortened(path)), each awaited until confirmed.")
        let sent = try await send()
        describe(sent)

        let wait = isMock ? " (a first join waits 3 s)" : ""
        say("")
        say("Joining the group \(Self.group)\(wait), then reading them back …")
        let client = try KafkaConsumer(consumer, logger: logger)
        let isComplete: Bool
        do {
            isComplete = try await handle(sent, client)
        } catch {
            await client.close(within: .seconds(10))
            throw error
        }
        await client.close(within: .seconds(10))
        suggest()
        guard isComplete else { throw ToolFailure("not everything came back exactly once") }
    }

    /// True where everything came back exactly once.
    private func handle(_ sent: Sent, _ client: KafkaConsumer) async throws -> Bool {
        let received = try await receive(Set(sent.positions), from: client)
        let isComplete = describe(received, of: sent)
        let charts = DemoCharts(arrivals: received.arrivals, style: style).lines
        if !charts.isEmpty {
            say("")
            for line in charts { say(line) }
        }
        let poison = DemoPoison(
            isMock: isMock,
            topic: Self.topic,
            producer: producer,
            redrive: redrive,
            logger: logger,
            style: style,
            say: { say($0) }
        )
        try await poison.run(client)
        return isComplete
    }

    private func say(_ line: String) {
        StandardOutput.print(line.isEmpty ? "" : "  \(line)")
    }
}

// MARK: Sending

extension Demo {
    private func send() async throws -> Sent {
        let start = ContinuousClock.now
        var sent = try await withKafkaProducer(producer, logger: logger) { producer in
            var sent = Sent()
            // The first one connects; it is told apart, so that it does not hide how long the others take.
            let (position, time) = try await Self.send(lines[0], with: producer)
            sent.positions.append(position)
            sent.firstRoundTrip = time
            try await withThrowingTaskGroup(of: (Position, Duration).self) { group in
                var rest = lines.dropFirst()
                for line in rest.prefix(Self.senders) { group.addTask { try await Self.send(line, with: producer) } }
                rest = rest.dropFirst(Self.senders)
                while let (position, time) = try await group.next() {
                    sent.positions.append(position)
                    sent.roundTrips.append(time)
                    if let line = rest.popFirst() {
                        group.addTask { try await Self.send(line, with: producer) }
                    }
                }
            }
            return sent
        }
        sent.elapsed = start.duration(to: .now)
        return sent
    }

    private static func send(_ line: [UInt8], with producer: KafkaProducer) async throws -> (Position, Duration) {
        let value = KafkaBytes(line)
        // Lines without an id are sent without a key.
        let key = JSONField(path: "id").flatMap { try? $0.value(in: line) }
        let start = ContinuousClock.now
        let report = try await producer.send(KafkaMessage(topic: topic, key: key, value: value))
        return (Position(partition: report.partition, offset: report.offset), start.duration(to: .now))
    }

    private func describe(_ sent: Sent) {
        let check = style.green("✓")
        say("\(check) \(style.bold(count(sent.positions.count, "message"))) confirmed in \(sent.elapsed.short)")
        let times = Percentiles(sent.roundTrips)
        if let median = times[50], let slow = times[99] {
            say(
                style.dim(
                    "  a round trip took \(median.short) (p50), \(slow.short) (p99), with \(Self.senders) under way; "
                        + "the first one, which connects, \(sent.firstRoundTrip.short)"
                )
            )
        }
        let partitions = Dictionary(grouping: sent.positions, by: \.partition).sorted { $0.key < $1.key }
        for (partition, positions) in partitions {
            let offsets = positions.map(\.offset)
            let range = "\(offsets.min() ?? 0)–\(offsets.max() ?? 0)"
            say(style.dim("  partition \(partition): \(count(positions.count, "message")) at offsets \(range)"))
        }
    }
}

// MARK: Receiving

extension Demo {
    private func receive(_ expected: Set<Position>, from client: KafkaConsumer) async throws -> Received {
        let reading = Task { try await Self.read(expected, from: client) }
        // By the clock, because a message that is lost gives no sign.
        DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Self.patience)) { reading.cancel() }
        let result = await withTaskCancellationHandler {
            await reading.result
        } onCancel: {
            reading.cancel()
        }
        try Task.checkCancellation()
        return try result.get()
    }

    private static func read(_ expected: Set<Position>, from client: KafkaConsumer) async throws -> Received {
        var received = Received()
        var start = ContinuousClock.now
        var missing = expected
        for try await delivery in client.deliveries {
            if received.acknowledged == 0 { start = .now }
            let position = Position(partition: delivery.partition, offset: delivery.offset)
            if expected.contains(position) {
                let earthquake = try? delivery.value?.decoded(as: Earthquake.self)
                received.arrivals.append(
                    DemoCharts.Arrival(
                        earthquake: earthquake ?? Earthquake(),
                        partition: position.partition,
                        offset: position.offset
                    )
                )
                received.times[position, default: 0] += 1
                missing.remove(position)
            } else {
                received.earlier += 1
            }
            delivery.acknowledge()
            received.acknowledged += 1
            if missing.isEmpty { break }
        }
        do {
            try await client.commit()
        } catch {
            received.commitFailure = error
        }
        received.elapsed = start.duration(to: .now)
        return received
    }

    /// True where everything came back exactly once, and the group knows it.
    private func describe(_ received: Received, of sent: Sent) -> Bool {
        let lost = sent.positions.count - received.times.count
        let repeated = received.times.values.reduce(0) { $0 + $1 - 1 }
        let isCommitted = received.commitFailure == nil
        let check = style.green("✓")
        let cross = style.red("✗")
        let what = isCommitted ? "received, acknowledged and committed" : "received and acknowledged"
        say(
            "\(isCommitted ? check : cross) \(style.bold(count(received.arrivals.count, "message"))) \(what) in "
                + received.elapsed.short
        )
        if let error = received.commitFailure { say("  not committed: \(error.sentence)") }
        if received.earlier > 0 {
            say(
                style.dim(
                    "  beside \(count(received.earlier, "message")) from earlier, which had not been acknowledged"
                )
            )
        }
        let isExact = lost == 0 && repeated == 0
        say(
            isExact
                ? "\(check) \(style.bold("nothing was lost, and nothing came twice"))"
                : "\(cross) \(count(lost, "message")) did not come back, \(repeated.grouped) came more than once"
        )
        return isExact && isCommitted
    }

    private func suggest() {
        let program = Platform.program
        let file = Platform.shortened(path)
        say("")
        say(style.bold("What to try next"))
        let commands =
            isMock
            ? [
                "\(program) broker --topic \(Self.topic):3",
                "export KAFKA_BOOTSTRAP_SERVERS=…   # in another terminal; the address that it prints",
                "\(program) send \(Self.topic) \(file) --json-key id",
                "\(program) receive \(Self.topic) --group me --format '%p %o %k\\n' --until-end",
            ]
            : [
                "export KAFKA_BOOTSTRAP_SERVERS=\(producer.bootstrapServers.joined(separator: ","))",
                "\(program) send \(Self.topic) \(file) --json-key id --print-reports",
                "\(program) receive \(Self.topic) --group me --format json --until-end",
            ]
        for command in commands { say("  \(command)") }
    }
}
