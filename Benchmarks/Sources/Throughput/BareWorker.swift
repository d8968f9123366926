#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

import BareLoop

/// The bare librdkafka loop's way. Its properties are those that the library sets, so that what differs is the code.
struct BareWorker: Worker {
    private let job: Job
    private var producer: OpaquePointer?
    private var consumer: OpaquePointer?
    private var received = bare_received()
    private let keys: [CChar]
    private let value: [CChar]

    init(_ job: Job) {
        self.job = job
        self.keys = (0..<Payload.keyCount).flatMap { Payload.key($0).utf8.map { CChar($0) } }
        self.value = Payload.value(job.cell.size).map { CChar($0) }
    }

    static func producerProperties(_ servers: [String]) -> [String] {
        [
            "bootstrap.servers", servers.joined(separator: ","), "client.id", "kafka-delivery",
            "enable.idempotence", "true", "acks", "all", "linger.ms", "0",
            "max.in.flight.requests.per.connection", "5", "message.timeout.ms", "120000", "message.max.bytes",
            "1000000",
            "queue.buffering.max.messages", "100000", "queue.buffering.max.kbytes", "131072",
            "compression.type", "none", "partitioner", "murmur2_random",
        ]
    }

    static func consumerProperties(_ job: Job) -> [String] {
        [
            "bootstrap.servers", job.bootstrapServers.joined(separator: ","), "client.id", "kafka-delivery",
            "log_level", "3", "group.id", job.group, "enable.auto.commit", "false", "enable.auto.offset.store", "true",
            "auto.offset.reset", "earliest", "partition.assignment.strategy", "cooperative-sticky",
            "isolation.level", "read_committed", "enable.partition.eof", "true",
            "queued.min.messages", String(job.cell.prefetch ?? 10_000), "queued.max.messages.kbytes", "1024",
            "fetch.message.max.bytes", "524288", "fetch.wait.max.ms", String(job.fetchWaitMilliseconds),
        ]
    }

    mutating func prepare() async throws {
        switch job.cell.shape {
        case .send, .enqueue, .batches:
            try makeProducer()
            try send(min(job.cell.count / 10, 5_000) + 1, window: 1_000)
        case .transactions(let size):
            // A message has no longer than its transaction, as with the library.
            let times = ["transaction.timeout.ms", "60000", "message.timeout.ms", "60000"]
            try makeProducer(["transactional.id", job.group] + times)
            try check(bare_begin(producer))
            try transactions(size, of: size, nil)
        case .receive, .standStill:
            try makeConsumer()
            try await receive(1, within: 30)
        case .endToEnd, .passThrough:
            try makeProducer()
            try makeConsumer()
            try send(1, window: 1)
            try await receive(1, within: 30)
        }
    }

    mutating func run() async throws -> Sample {
        let cell = job.cell
        switch cell.shape {
        case .send(let tasks):
            let every = tasks == 1 ? 1 : 16
            var latencies = [Int64](repeating: 0, count: cell.count / every + 1)
            let meter = Meter()
            try withMessages { messages in
                try check(bare_send(producer, messages, Int64(cell.count), Int64(tasks), &latencies, Int64(every)))
            }
            var sample = meter.sample(messages: cell.count)
            sample.latency = Percentiles(nanoseconds: latencies.filter { $0 > 0 })
            return sample
        case .enqueue(let window):
            let meter = Meter()
            try send(cell.count, window: window)
            return meter.sample(messages: cell.count)
        case .batches(let size):
            let meter = Meter()
            try withMessages { try check(bare_send_batches(producer, $0, Int64(cell.count), Int64(size))) }
            return meter.sample(messages: cell.count)
        case .transactions(let size):
            var latencies = [Int64](repeating: 0, count: cell.count / size)
            let meter = Meter()
            try transactions(cell.count, of: size, &latencies)
            var sample = meter.sample(messages: cell.count)
            sample.latency = Percentiles(nanoseconds: latencies)
            return sample
        case .receive:
            return try await receiveTimed()
        case .endToEnd(let perSecond):
            return try endToEnd(perSecond)
        case .passThrough:
            return try await passThrough()
        case .standStill(let seconds):
            return try await standStill(seconds, messages: 1)
        }
    }

    func close() async {
        if let producer { bare_client_destroy(producer) }
        if let consumer { bare_client_destroy(consumer) }
    }

    // MARK: Steps

    /// The loop is helped over what 2.0.2 lacks, so that the library is not compared with something that stands still;
    /// but for the loops with work, which show just that.
    /// A quarter of what is fetched ahead: 10,000 messages or 1 MiB.
    private var wakeEvery: Int64 { job.cell.work > 0 ? 0 : Int64(max(1, min(2_500, (256 << 10) / job.cell.size))) }

    private func receiveTimed() async throws -> Sample {
        let cell = job.cell
        var result = received
        if cell.work == 0 {
            try check(bare_receive(consumer, Int64(cell.untimed), 60_000_000_000, 0, 10_000, wakeEvery, &result))
        }
        let before = result.received
        let meter = Meter()
        let limit = Int64((cell.seconds ?? 60) * 1e9)
        try check(bare_receive(consumer, Int64(cell.last), limit, Int64(cell.work), 10_000, wakeEvery, &result))
        var sample = meter.sample(messages: Int(result.received - before))
        if cell.work > 0 {
            sample.longestGap = Double(result.longest_gap) / 1e9
            sample.idealRate = idealRate(work: cell.work)
        }
        return sample
    }

    private func endToEnd(_ perSecond: Int) throws -> Sample {
        var latencies = [Int64](repeating: 0, count: job.cell.count)
        let meter = Meter()
        try check(
            bare_end_to_end(
                producer,
                consumer,
                job.cell.size,
                Int64(job.cell.count),
                Int64(perSecond),
                &latencies
            )
        )
        var sample = meter.sample(messages: job.cell.count)
        sample.latency = Percentiles(nanoseconds: Array(latencies.dropFirst(job.cell.uncounted)))
        return sample
    }

    /// In steps, and each is received before the next is sent: a mock cluster forgets what nobody reads.
    private mutating func passThrough() async throws -> Sample {
        let step = job.cell.count / 40
        let meter = Meter()
        var memory: [Int] = []
        for _ in 0..<40 {
            let target = Int(received.received) + step
            let (consumer, start, wakeEvery) = (Address(consumer), received, wakeEvery)
            // consumer_poll blocks, and so has a thread of its own.
            async let end: (bare_received, Int32) = Task.detached {
                var result = start
                let status = bare_receive(
                    consumer.pointer,
                    Int64(target),
                    120_000_000_000,
                    0,
                    10_000,
                    wakeEvery,
                    &result
                )
                return (result, status)
            }.value
            try send(step, window: 10_000)
            let (result, status) = await end
            try check(status)
            received = result
            memory.append(Memory.resident)
        }
        var sample = meter.sample(messages: Int(received.received) - 1)
        sample.memory = memory
        return sample
    }

    private func transactions(_ count: Int, of size: Int, _ latencies: UnsafeMutablePointer<Int64>?) throws {
        try withMessages { try check(bare_transactions(producer, $0, Int64(count), Int64(size), latencies)) }
    }

    private mutating func makeProducer(_ more: [String] = []) throws {
        producer = try Self.withStrings(Self.producerProperties(job.bootstrapServers) + more, job.topics) {
            bare_producer_new($0, $1, Int32(job.topics.count))
        }
    }

    private mutating func makeConsumer() throws {
        consumer = try Self.withStrings(Self.consumerProperties(job), job.topics) {
            bare_consumer_new($0, $1, Int32(job.topics.count))
        }
    }

    private func send(_ count: Int, window: Int) throws {
        try withMessages { try check(bare_send(producer, $0, Int64(count), Int64(window), nil, 1)) }
    }

    private mutating func receive(_ count: Int, within seconds: Int) async throws {
        var result = received
        try check(
            bare_receive(
                consumer,
                received.received + Int64(count),
                Int64(seconds) * 1_000_000_000,
                0,
                10_000,
                wakeEvery,
                &result
            )
        )
        guard result.received == received.received + Int64(count) else { throw Failure("nothing was received") }
        received = result
    }

    /// Puts a cell's messages into its topic.
    static func fill(_ job: Job) throws {
        var worker = BareWorker(job)
        // Large batches: a mock broker answers a fetch with one batch of each partition.
        let properties = producerProperties(job.bootstrapServers) + ["linger.ms", "100"]
        worker.producer = try withStrings(properties, job.topics) {
            bare_producer_new($0, $1, Int32(job.topics.count))
        }
        defer { worker.producer.map { bare_client_destroy($0) } }
        try worker.withMessages { messages in
            try worker.check(
                bare_fill(worker.producer, messages, Int64(job.cell.count), Int32(job.cell.partitions))
            )
        }
    }

    private func withMessages<Result>(_ body: (UnsafePointer<bare_messages>) throws -> Result) throws -> Result {
        try keys.withUnsafeBufferPointer { keys in
            try value.withUnsafeBufferPointer { value in
                var messages = bare_messages(
                    keys: keys.baseAddress,
                    key_size: Payload.keySize,
                    key_count: Payload.keyCount,
                    value: value.baseAddress,
                    value_size: value.count,
                    header_count: Int32(job.cell.headers)
                )
                return try body(&messages)
            }
        }
    }

    private func check(_ status: Int32) throws {
        guard status == 0 else { throw Failure(String(cString: bare_error())) }
    }

    static func withStrings(
        _ properties: [String],
        _ topics: [String],
        _ body: (UnsafePointer<UnsafePointer<CChar>?>, UnsafePointer<UnsafePointer<CChar>?>) -> OpaquePointer?
    ) throws -> OpaquePointer {
        let owned = (properties + topics).map { strdup($0) }
        defer { for string in owned { free(string) } }
        let pointers = owned.map { UnsafePointer($0) }
        let client = (pointers.prefix(properties.count) + [nil]).withUnsafeBufferPointer { properties in
            (pointers.suffix(topics.count) + [nil]).withUnsafeBufferPointer { topics -> OpaquePointer? in
                guard let properties = properties.baseAddress, let topics = topics.baseAddress else { return nil }
                return body(properties, topics)
            }
        }
        guard let client else { throw Failure(String(cString: bare_error())) }
        return client
    }
}

/// A pointer that goes to another thread.
struct Address: @unchecked Sendable {
    // The one thread uses the client while the other waits.
    let pointer: OpaquePointer?

    init(_ pointer: OpaquePointer?) {
        self.pointer = pointer
    }
}

/// How many pieces of work a second there would be if messages cost nothing.
func idealRate(work: Int) -> Double {
    let count = max(10, min(50_000, 100_000_000 / work))
    var nothing = bare_received()
    let start = bare_now()
    for _ in 0..<count { bare_work(&nothing, Int64(work)) }
    return Double(count) / (Double(bare_now() - start) / 1e9)
}

/// Watches the memory once a second.
func standStill(_ seconds: Int, messages: Int) async throws -> Sample {
    let meter = Meter()
    var memory = [Memory.resident]
    for _ in 0..<seconds {
        // There is nothing to wait for: that nothing happens is what is measured.
        try await Task.sleep(for: .seconds(1))
        memory.append(Memory.resident)
    }
    var sample = meter.sample(messages: messages)
    sample.memory = memory
    return sample
}
