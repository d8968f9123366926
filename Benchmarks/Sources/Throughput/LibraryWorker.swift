import BareLoop
import KafkaDelivery
import Logging

/// KafkaDelivery's way, as its documentation shows it.
struct LibraryWorker: Worker {
    private let job: Job
    private let messages: [KafkaMessage]
    private var producer: KafkaProducer?
    private var transactional: KafkaTransactionalProducer?
    private var consumer: KafkaConsumer?
    private var receiver: LibraryReceiver?

    init(_ job: Job) {
        self.job = job
        let value = Payload.value(job.cell.size)
        let headers = KafkaHeaders(
            Payload.headerNames.prefix(job.cell.headers).map { KafkaHeader($0, Payload.headerValue) }
        )
        self.messages = (0..<Payload.keyCount).map { index in
            KafkaMessage(
                topic: job.topics[index % job.topics.count],
                key: Payload.key(index),
                value: value,
                headers: headers
            )
        }
    }

    mutating func prepare() async throws {
        let cell = job.cell
        switch cell.shape {
        case .send, .enqueue, .batches:
            let producer = try makeProducer()
            try await enqueue(min(cell.count / 10, 5_000) + 1, window: 1_000, producer)
        case .transactions(let size):
            let producer = try KafkaTransactionalProducer(
                .init(transactionalID: job.group, bootstrapServers: job.bootstrapServers),
                logger: Self.logger
            )
            _ = try await transactions(size, of: size, producer)
            transactional = producer
        case .receive(let loop):
            let receiver = LibraryReceiver(try makeConsumer(), loop: loop, cell: cell)
            try await receiver.prepare()
            self.receiver = receiver
        case .standStill:
            let consumer = try makeConsumer()
            for try await _ in consumer.deliveries { break }
        case .endToEnd, .passThrough:
            let producer = try makeProducer()
            let consumer = try makeConsumer()
            try await producer.send(messages[0])
            for try await delivery in consumer.deliveries {
                delivery.acknowledge()
                break
            }
        }
    }

    mutating func run() async throws -> Sample {
        guard job.cell.onExecutor else { return try await measure() }
        let (worker, executor) = (self, try current(producer).taskExecutor)
        return try await withTaskExecutorPreference(executor) { try await worker.measure() }
    }

    @concurrent private func measure() async throws -> Sample {
        let cell = job.cell
        switch cell.shape {
        case .send(let tasks): return try await send(tasks, try current(producer))
        case .enqueue(let window):
            let meter = Meter()
            try await enqueue(cell.count, window: window, try current(producer))
            return meter.sample(messages: cell.count)
        case .batches(let size): return try await sendBatches(size, try current(producer))
        case .transactions(let size):
            let meter = Meter()
            let latencies = try await transactions(cell.count, of: size, try current(transactional))
            var sample = meter.sample(messages: cell.count)
            sample.latency = Percentiles(nanoseconds: latencies)
            return sample
        case .receive: return try await current(receiver).run()
        case .endToEnd(let perSecond): return try await endToEnd(perSecond)
        case .passThrough: return try await passThrough()
        case .standStill(let seconds): return try await standStill(seconds, messages: 1)
        }
    }

    func close() async {
        await producer?.close()
        await transactional?.close()
        await consumer?.close(within: .seconds(5))
        await receiver?.close()
    }

    // MARK: Sending

    private func send(_ tasks: Int, _ producer: KafkaProducer) async throws -> Sample {
        let count = job.cell.count / tasks
        let messages = messages
        let latencies: [Int64]
        let meter = Meter()
        if tasks == 1 {
            latencies = try await Self.send(count, from: 0, of: messages, every: 1, producer)
        } else {
            latencies = try await withThrowingTaskGroup(of: [Int64].self) { group in
                for task in 0..<tasks {
                    group.addTask {
                        try await Self.send(count, from: task * count, of: messages, every: 16, producer)
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
        }
        var sample = meter.sample(messages: count * tasks)
        sample.latency = Percentiles(nanoseconds: latencies)
        return sample
    }

    /// Sends one after the other, and returns how long some of them took.
    @concurrent private static func send(
        _ count: Int,
        from first: Int,
        of messages: [KafkaMessage],
        every: Int,
        _ producer: KafkaProducer
    ) async throws -> [Int64] {
        var latencies: [Int64] = []
        latencies.reserveCapacity(count / every + 1)
        for index in first..<first + count {
            let message = messages[index % messages.count]
            if index % every == 0 {
                let start = bare_now()
                try await producer.send(message)
                latencies.append(bare_now() - start)
            } else {
                try await producer.send(message)
            }
        }
        return latencies
    }

    /// Awaits each report when `window` later ones are under way.
    @concurrent private func enqueue(_ count: Int, window: Int, _ producer: KafkaProducer) async throws {
        let messages = messages
        var pending: [KafkaProducer.PendingDelivery] = []
        pending.reserveCapacity(window)
        for index in 0..<count {
            var next = try await producer.enqueue(messages[index % messages.count])
            if pending.count < window {
                pending.append(next)
            } else {
                swap(&pending[index % window], &next)
                _ = try await next.report
            }
        }
        for last in pending { _ = try await last.report }
    }

    @concurrent private func sendBatches(_ size: Int, _ producer: KafkaProducer) async throws -> Sample {
        let count = job.cell.count
        let meter = Meter()
        for start in stride(from: 0, to: count, by: size) {
            let first = start % messages.count
            // The few batches that would reach beyond the prepared messages begin with the first of them.
            let begin = first + size <= messages.count ? first : 0
            for result in await producer.send(contentsOf: messages[begin..<begin + min(size, count - start)]) {
                _ = try result.get()
            }
        }
        return meter.sample(messages: count)
    }

    @concurrent private func transactions(
        _ count: Int,
        of size: Int,
        _ producer: KafkaTransactionalProducer
    ) async throws -> [Int64] {
        let messages = messages
        var latencies: [Int64] = []
        for first in stride(from: 0, to: count, by: size) {
            let start = bare_now()
            try await producer.withTransaction { transaction in
                for index in first..<first + size { try await transaction.enqueue(messages[index % messages.count]) }
            }
            latencies.append(bare_now() - start)
        }
        return latencies
    }

    // MARK: Both

    private func endToEnd(_ perSecond: Int) async throws -> Sample {
        let (producer, consumer) = (try current(producer), try current(consumer))
        let (count, size, topic) = (job.cell.count, job.cell.size, job.topics[0])
        let meter = Meter()
        let start = bare_now()
        async let sending: Void = Task.detached {
            let clock = ContinuousClock()
            let begin = clock.now
            var value = [UInt8](repeating: UInt8(ascii: "v"), count: size)
            for index in 0..<count {
                // The rate is what is asked for.
                try await clock.sleep(until: begin + .seconds(1) / perSecond * index, tolerance: .zero)
                var now = bare_now()
                withUnsafeBytes(of: &now) { value.replaceSubrange(0..<8, with: $0) }
                _ = try await producer.enqueue(KafkaMessage(topic: topic, key: Payload.key(index), value: value))
            }
        }.value
        var latencies: [Int64] = []
        latencies.reserveCapacity(count)
        for try await delivery in consumer.deliveries {
            let now = bare_now()
            let sent = delivery.withValue { $0?.unsafeLoad(as: Int64.self) ?? 0 }
            delivery.acknowledge()
            if sent >= start, delivery.value?.count == size { latencies.append(now - sent) }
            if latencies.count == count { break }
        }
        try await sending
        var sample = meter.sample(messages: count)
        sample.latency = Percentiles(nanoseconds: Array(latencies.dropFirst(job.cell.uncounted)))
        return sample
    }

    /// In steps, and each is received before the next is sent: a mock cluster forgets what nobody reads.
    private func passThrough() async throws -> Sample {
        let (producer, consumer) = (try current(producer), try current(consumer))
        let step = job.cell.count / 40
        let meter = Meter()
        var memory: [Int] = []
        for _ in 0..<40 {
            async let receiving: Void = Task.detached {
                var received = 0
                for try await delivery in consumer.deliveries {
                    delivery.acknowledge()
                    received += 1
                    if received == step { break }
                }
            }.value
            try await enqueue(step, window: 10_000, producer)
            try await receiving
            memory.append(Memory.resident)
        }
        var sample = meter.sample(messages: step * 40)
        sample.memory = memory
        return sample
    }

    // MARK: Making

    private mutating func makeProducer() throws -> KafkaProducer {
        let producer = try KafkaProducer(.init(bootstrapServers: job.bootstrapServers), logger: Self.logger)
        self.producer = producer
        return producer
    }

    private mutating func makeConsumer() throws -> KafkaConsumer {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: job.bootstrapServers,
            group: job.group,
            topics: job.topics
        )
        configuration.maximumFetchWait = .milliseconds(job.fetchWaitMilliseconds)
        if let prefetch = job.cell.prefetch { configuration.prefetch.maximumMessages = prefetch }
        let consumer = try KafkaConsumer(configuration, logger: Self.logger)
        self.consumer = consumer
        return consumer
    }

    private func current<Value>(_ value: Value?) throws -> Value {
        guard let value else { throw Failure("the worker was not prepared") }
        return value
    }

    private static var logger: Logger {
        var logger = Logger(label: "bench") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        return logger
    }
}
