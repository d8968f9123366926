import BareLoop
import KafkaDelivery
import Synchronization

/// The ways of receiving: a loop, on the main actor or off it, and `forEach`.
final class LibraryReceiver: Sendable {
    private let consumer: KafkaConsumer
    private let loop: Cell.Loop
    private let cell: Cell
    private let tally: Tally
    /// Closed until the round begins.
    private let gate = Gate()
    private let handling = Mutex<Task<Void, any Error>?>(nil)

    init(_ consumer: KafkaConsumer, loop: Cell.Loop, cell: Cell) {
        self.consumer = consumer
        self.loop = loop
        self.cell = cell
        self.tally = Tally(untimed: cell.work == 0 ? cell.untimed : 0, last: cell.last)
    }

    /// Joins the group, and waits until something was fetched.
    func prepare() async throws {
        switch loop {
        case .perPartition, .perKey:
            let concurrency: KafkaConsumer.Concurrency = loop == .perKey ? .perKey(maximum: 64) : .perPartition
            let (consumer, gate, tally) = (consumer, gate, tally)
            let task = Task.detached {
                try await consumer.forEach(concurrency: concurrency) { delivery in
                    if !gate.isOpen { await gate.pass() }
                    delivery.withValue { tally.note($0?.byteCount ?? 0) }
                }
            }
            handling.withLock { $0 = task }
            await gate.arrival()
        case .deliveries, .mainActor, .negative:
            for try await delivery in consumer.deliveries {
                delivery.acknowledge()
                break
            }
        }
    }

    func run() async throws -> Sample {
        switch loop {
        case .perPartition, .perKey:
            tally.begin()
            gate.open()
            let sample = await tally.end()
            await consumer.close(within: .seconds(5))
            try await handling.withLock { $0 }?.value
            return sample
        case .deliveries where cell.work > 0: return try await receiveWorking()
        case .deliveries: return try await receive()
        case .mainActor: return try await receiveOnMainActor()
        case .negative: return try await receiveRejecting()
        }
    }

    func close() async {
        await consumer.close(within: .seconds(5))
    }

    @concurrent private func receive() async throws -> Sample {
        var bytes = 0
        var received = 0
        for try await delivery in consumer.deliveries {
            delivery.withValue { bytes += $0?.byteCount ?? 0 }
            delivery.acknowledge()
            received += 1
            if received == cell.untimed { break }
        }
        let meter = Meter()
        for try await delivery in consumer.deliveries {
            delivery.withValue { bytes += $0?.byteCount ?? 0 }
            delivery.acknowledge()
            received += 1
            if received == cell.last { break }
        }
        return try counted(bytes, meter.sample(messages: cell.last - cell.untimed))
    }

    @MainActor private func receiveOnMainActor() async throws -> Sample {
        var bytes = 0
        var received = 0
        for try await delivery in consumer.deliveries {
            delivery.withValue { bytes += $0?.byteCount ?? 0 }
            delivery.acknowledge()
            received += 1
            if received == cell.untimed { break }
        }
        let meter = Meter()
        for try await delivery in consumer.deliveries {
            delivery.withValue { bytes += $0?.byteCount ?? 0 }
            delivery.acknowledge()
            received += 1
            if received == cell.last { break }
        }
        return try counted(bytes, meter.sample(messages: cell.last - cell.untimed))
    }

    @concurrent private func receiveRejecting() async throws -> Sample {
        var bytes = 0
        var received = 0
        var meter = Meter()
        for try await delivery in consumer.deliveries {
            delivery.withValue { bytes += $0?.byteCount ?? 0 }
            if delivery.attempt == 1, delivery.offset % 100 == 0 {
                delivery.negativelyAcknowledge()
                continue
            }
            delivery.acknowledge()
            received += 1
            if received == cell.untimed { meter = Meter() }
            if received == cell.last { break }
        }
        return try counted(bytes, meter.sample(messages: cell.last - cell.untimed))
    }

    @concurrent private func receiveWorking() async throws -> Sample {
        var result = bare_received()
        let deadline = bare_now() + Int64((cell.seconds ?? 60) * 1e9)
        var received = 0
        let meter = Meter()
        for try await delivery in consumer.deliveries {
            bare_work(&result, Int64(cell.work))
            delivery.acknowledge()
            received += 1
            if received == cell.last || received & 255 == 0 && result.last_end >= deadline { break }
        }
        var sample = meter.sample(messages: received)
        sample.longestGap = Double(result.longest_gap) / 1e9
        sample.idealRate = idealRate(work: cell.work)
        return sample
    }

    private func counted(_ bytes: Int, _ sample: Sample) throws -> Sample {
        guard bytes >= cell.size * sample.messages else { throw Failure("values were shorter than what was sent") }
        return sample
    }
}

/// Counts what handlers in several tasks receive, and takes the time between two counts.
private final class Tally: Sendable {
    private let untimed: Int
    private let last: Int
    private let count = Atomic(0)
    private let meter = Mutex<Meter?>(nil)
    private let result = Mutex<(sample: Sample?, waiter: CheckedContinuation<Sample, Never>?)>((nil, nil))

    init(untimed: Int, last: Int) {
        self.untimed = untimed
        self.last = last
    }

    func begin() {
        meter.withLock { $0 = Meter() }
    }

    func note(_ bytes: Int) {
        let count = count.wrappingAdd(1, ordering: .relaxed).newValue
        if count == untimed { begin() }
        if count == last { finish() }
    }

    private func finish() {
        guard let sample = meter.withLock({ $0?.sample(messages: last - untimed) }) else { return }
        result.withLock { result in
            result.sample = sample
            return result.waiter.take()
        }?.resume(returning: sample)
    }

    func end() async -> Sample {
        await withCheckedContinuation { continuation in
            let sample = result.withLock { result in
                if result.sample == nil { result.waiter = continuation }
                return result.sample
            }
            if let sample { continuation.resume(returning: sample) }
        }
    }
}

/// Holds handlers up until it is opened.
private final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var hasArrived = false
        var waiting: [CheckedContinuation<Void, Never>] = []
        var watching: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let opened = Atomic(false)

    var isOpen: Bool { opened.load(ordering: .relaxed) }

    func pass() async {
        await withCheckedContinuation { continuation in
            let (isOpen, watching) = state.withLock { state in
                state.hasArrived = true
                if !state.isOpen { state.waiting.append(continuation) }
                return (state.isOpen, state.watching.take())
            }
            watching?.resume()
            if isOpen { continuation.resume() }
        }
    }

    /// Returns when somebody is held up.
    func arrival() async {
        await withCheckedContinuation { continuation in
            let hasArrived = state.withLock { state in
                if !state.hasArrived { state.watching = continuation }
                return state.hasArrived
            }
            if hasArrived { continuation.resume() }
        }
    }

    func open() {
        opened.store(true, ordering: .relaxed)
        let waiting = state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}
