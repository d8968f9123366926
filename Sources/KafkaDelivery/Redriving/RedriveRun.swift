internal import Logging
internal import ServiceLifecycle
internal import Synchronization

/// One run of a redrive: looks where the topic's partitions end, and goes through each with a ``RedrivePartition``.
final class RedriveRun: Sendable {
    /// What has to be looked at of a partition.
    struct Extent: Sendable {
        let bounds: Range<Int64>
        let record: RedriveRecord
    }

    private struct State {
        var summary = KafkaRedrive.Summary()
        var membership = RedriveMembership()
        /// Where each partition ended when the run began. What is added later is for a later run: a replay may come back.
        var ends: [Int: Int64] = [:]
        var isStopping = false
        var failure: (any Error)?
        /// What went wrong first that may pass.
        var problem: KafkaError?
        /// How many may still be sent.
        var remaining: Int
        /// When the next may be sent.
        var nextSlot = ContinuousClock.now
        /// Waits that end when the run does: at once, or after a while.
        var waits: [UInt64: (cancel: @Sendable () -> Void, isPatient: Bool)] = [:]
        var patience: Task<Void, Never>?
        var isOutOfPatience = false
    }

    let configuration: KafkaRedrive.Configuration
    /// Nil where nothing is sent.
    let producer: KafkaProducer?
    /// The largest replay that the producer takes.
    let maximumMessageBytes: Int
    let observer: KafkaRedrive.Observer
    let logger: Logger
    let consumer: KafkaConsumer
    // The partitions' tasks, the listener to events and the task that cancels the run meet here.
    private let state: Mutex<State>

    /// How long the questions to the brokers may take.
    private static let inquiryTimeout = Duration.seconds(15)

    init(
        _ configuration: KafkaRedrive.Configuration,
        producer: KafkaProducer?,
        maximumMessageBytes: Int = .max,
        observer: @escaping KafkaRedrive.Observer,
        logger: Logger
    ) throws(KafkaError) {
        try configuration.validate()
        self.configuration = configuration
        self.producer = producer
        self.maximumMessageBytes = maximumMessageBytes
        self.observer = observer
        self.logger = logger
        self.consumer = try KafkaConsumer(committedElsewhere: configuration.consumer, logger: logger)
        self.state = Mutex(State(remaining: configuration.maximumCount ?? .max))
    }

    func run() async throws -> KafkaRedrive.Summary {
        // Not in the caller's task: when that is cancelled, what is under way has still to be waited for and remembered.
        let working = Task { await self.work() }
        await withTaskCancellationOrGracefulShutdownHandler {
            await working.value
        } onCancelOrGracefulShutdown: {
            self.stop(CancellationError())
        }
        let (summary, failure) = state.withLock { ($0.summary, $0.failure) }
        if let failure { throw failure }
        return summary
    }

    private func work() async {
        // Before anything is asked, so that no assignment is missed.
        let events = consumer.events
        let listening = Task { for await event in events { self.handle(event) } }
        defer { listening.cancel() }
        do {
            let extents = try await interruptible { try await self.extents() }
            if begin(extents) { await goThroughPartitions() }
        } catch let error as KafkaError where error.recovery == .retry {
            // That no broker answered in time says less than why none could be reached.
            stop(state.withLock { $0.problem } ?? error)
        } catch {
            stop(error)
        }
        // From here on there is nothing to stop: a task that is cancelled before it gets its turn has its summary all the same.
        state.withLock { $0.isStopping = true }
        await consumer.close(within: configuration.closeTimeout)
        state.withLock { $0.patience }?.cancel()
    }

    /// Where partitions begin, end, and were redriven to.
    ///
    /// - Parameter partition: The one to look at; nil for all of the topic.
    func extents(of partition: Int? = nil) async throws(KafkaError) -> [Int: Extent] {
        let (core, topic, group) = (consumer.core, configuration.topic, configuration.group)
        return try await core.blocking.run {
            Result { () throws(KafkaError) in
                let deadline = ContinuousClock.now.advanced(by: Self.inquiryTimeout)
                var numbers = [partition].compactMap(\.self)
                if partition == nil { numbers = try Self.partitions(of: topic, core.usableClient(), until: deadline) }
                let partitions = numbers.map { KafkaTopicPartition(topic: topic, partition: $0) }
                let committed = try core.usableClient().committedEntries(partitions, until: deadline)
                let begins = try core.usableClient().offsets(
                    at: PartitionOffset.beginning,
                    of: partitions,
                    until: deadline
                )
                // To `read_committed` the end is where the first open transaction begins.
                let ends = try core.usableClient().offsets(at: PartitionOffset.end, of: partitions, until: deadline)
                var extents: [Int: Extent] = [:]
                for entry in committed {
                    let begin = max(begins[entry.partition] ?? 0, 0)
                    let bounds = begin..<max(ends[entry.partition] ?? 0, begin)
                    let record = try RedriveRecord(entry, bounds: bounds, group: group)
                    extents[entry.partition.partition] = Extent(bounds: bounds, record: record)
                }
                return extents
            }
        }.get()
    }

    /// The topic's partitions. One that was just made is not known to every broker at once, so it is asked for again for a
    /// second before it counts as missing. Blocks.
    private static func partitions(
        of topic: String,
        _ client: RdKafkaClient,
        until deadline: ContinuousClock.Instant
    ) throws(KafkaError) -> [Int] {
        let patience = min(deadline, .now.advanced(by: .seconds(1)))
        while true {
            do {
                return try client.partitions(of: topic, until: deadline)
            } catch {
                guard error.kind == .unknownTopicOrPartition, .now < patience else { throw error }
                RdKafkaClient.pause()
            }
        }
    }

    /// Sets out to go through the partitions that have something to look at; false where none has.
    private func begin(_ extents: [Int: Extent]) -> Bool {
        let filter = configuration.filter
        var starts: [PartitionOffset] = []
        let isNeeded = state.withLock { state in
            for (number, extent) in extents {
                let end = min(extent.bounds.upperBound, filter.offsets?.upperBound ?? .max)
                let first = max(extent.record.base, producer == nil ? filter.offsets?.lowerBound ?? 0 : 0)
                state.ends[number] = end
                guard filter.partitions?.contains(number) ?? true, first < end else {
                    state.membership.finish(number)
                    continue
                }
                let partition = KafkaTopicPartition(topic: configuration.topic, partition: number)
                starts.append(PartitionOffset(partition: partition, offset: first))
            }
            return !starts.isEmpty && !state.isStopping
        }
        if producer == nil { consumer.core.assignment.withLock { $0 = starts } }
        return isNeeded
    }

    private func goThroughPartitions() async {
        await withDiscardingTaskGroup { group in
            do {
                for try await partition in consumer.partitions {
                    group.addTask { await self.goThrough(partition) }
                }
            } catch {
                stop(error)
            }
        }
        state.withLock { state in
            guard state.failure == nil, !state.summary.reachedMaximum else { return }
            state.summary.partitionsOfOthers = Set(state.ends.keys).subtracting(state.membership.finished)
        }
    }

    private func goThrough(_ partition: KafkaConsumer.Partition) async {
        let number = partition.partition
        guard let end = state.withLock({ $0.membership.finished.contains(number) ? nil : $0.ends[number] }) else {
            return finish(number)
        }
        do {
            if try await RedrivePartition(partition, end: end, run: self).goThrough() { finish(number) }
        } catch {
            // Counts also where the run has come to its end otherwise: something of it was not done.
            state.withLock { $0.failure = $0.failure ?? error }
            stop()
        }
    }

    private func finish(_ number: Int) {
        track { $0.finish(number) }
    }

    private func handle(_ event: KafkaConsumer.Event) {
        switch event {
        case .assigned(let partitions, _):
            let numbers = partitions.map(\.partition)
            track { membership in
                membership.assign(numbers)
            }
        case .revoked(let partitions, _), .lost(let partitions, _):
            state.withLock { $0.membership.revoke(partitions.map(\.partition)) }
        case .problem(let error, _):
            switch error.kind {
            // What a person has to put right. A broker that is away comes back, and the topic was seen to be there.
            case .authentication, .authorization, .fatal: stop(error)
            default: state.withLock { $0.problem = $0.problem ?? error }
            }
        default: break
        }
    }

    private func track(_ change: (inout RedriveMembership) -> Void) {
        let isComplete = state.withLock { state in
            change(&state.membership)
            return state.membership.isComplete
        }
        if isComplete { stop() }
    }
}

// MARK: For the partitions

extension RedriveRun {
    var isStopping: Bool { state.withLock { $0.isStopping } }

    func count(_ change: (inout KafkaRedrive.Summary) -> Void) {
        state.withLock { change(&$0.summary) }
    }

    /// Whether more may be sent.
    var hasPermits: Bool { state.withLock { $0.remaining > 0 } }

    /// Takes one of those that may still be sent; false where there is none.
    func takePermit() -> Bool {
        state.withLock { state in
            guard state.remaining > 0 else { return false }
            state.remaining -= 1
            return true
        }
    }

    /// Gives back a permit whose message was not sent, or refused.
    func returnPermit() {
        state.withLock { $0.remaining += 1 }
    }

    /// Ends the run where no more may be sent, and says whether that is so.
    func stopAtMaximum() -> Bool {
        let isOver = state.withLock { state in
            guard state.remaining == 0 else { return false }
            state.summary.reachedMaximum = true
            return true
        }
        if isOver { stop() }
        return isOver
    }

    /// When the next message may be sent, at the maximum rate; the one after it later.
    func takeSlot() -> ContinuousClock.Instant {
        guard let rate = configuration.maximumRate else { return .now }
        return state.withLock { state in
            let slot = max(state.nextSlot, .now)
            // No longer than what a deadline can be set to.
            state.nextSlot = slot.advanced(by: .seconds(min(1 / rate, 1e6)))
            return slot
        }
    }

    /// Waits until some time, or until the run is to end. It is time that is waited for: a rate is nothing else.
    func pause(until instant: ContinuousClock.Instant) async {
        try? await interruptible { try await Task.sleep(until: instant, clock: .continuous) }
    }

    /// Runs something that is cancelled when the run is to end.
    ///
    /// - Parameter isPatient: Whether it then has half of the time for closing to come to its end.
    func interruptible<Value: Sendable>(
        isPatient: Bool = false,
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let running = Task { try await body() }
        let id = WaiterID.next()
        let isOver = state.withLock { state in
            state.waits[id] = ({ running.cancel() }, isPatient)
            return state.isStopping && !isPatient || state.isOutOfPatience
        }
        if isOver { running.cancel() }
        defer { state.withLock { _ = $0.waits.removeValue(forKey: id) } }
        return try await running.value
    }

    /// Ends the run: nothing more is sent, and what is under way is waited for. A failure counts where it is what ends
    /// the run.
    func stop(_ failure: (any Error)? = nil) {
        let (isFirst, waits) = state.withLock { state in
            defer { state.isStopping = true }
            if !state.isStopping { state.failure = state.failure ?? failure }
            return (!state.isStopping, state.waits.values.filter { !$0.isPatient })
        }
        guard isFirst else { return }
        for wait in waits { wait.cancel() }
        consumer.core.beginClosing(within: configuration.closeTimeout)
        let patience = Task {
            // Time is what is waited for: a broker that does not answer gives no sign.
            guard (try? await Task.sleep(for: configuration.closeTimeout.asTimeout / 2)) != nil else { return }
            let waits = state.withLock { state in
                state.isOutOfPatience = true
                return Array(state.waits.values)
            }
            for wait in waits { wait.cancel() }
        }
        state.withLock { $0.patience = patience }
    }
}

extension RedriveRecord {
    /// What a group has committed of a partition.
    init(_ committed: PartitionOffset, bounds: Range<Int64>, group: String) throws(KafkaError) {
        let base = max(committed.offset, bounds.lowerBound)
        guard committed.offset >= 0 else {
            self.init(base: base)
            return
        }
        guard var record = RedriveRecord(base: committed.offset, metadata: committed.metadata) else {
            throw .invalidConfiguration(
                "group \(group) has committed something of \(committed.partition) that is not a redrive's: "
                    + "it reads the topic in another way, and cannot say what was redriven"
            )
        }
        record.forget(before: base)
        self = record
    }
}
