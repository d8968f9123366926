/// Goes through one partition of a dead-letter topic, in one generation: reads, selects, sends, and when that is confirmed
/// commits and acknowledges. Belongs to one task.
final class RedrivePartition {
    /// What was sent and not yet remembered.
    private struct Sent: Sendable {
        let delivery: KafkaConsumer.Delivery
        let letter: KafkaRedrive.Letter
        let message: KafkaMessage
        /// The letter's offset and the gap before it, in which there is nothing.
        let offsets: Range<Int64>
        let pending: KafkaProducer.PendingDelivery
    }

    private enum Step {
        case delivery(KafkaConsumer.Delivery)
        /// Nothing came in time.
        case nothing
        case atEnd
        /// The partition is not ours any more, or the run ends.
        case ended
    }

    /// How much may be sent that is not remembered: what is sent again after a crash.
    private static let maximumUnremembered = 500
    private static let maximumUnrememberedBytes = 1 << 20
    private static let maximumUnrememberedTime = Duration.seconds(1)

    private let partition: KafkaConsumer.Partition
    private let end: Int64
    private let run: RedriveRun
    private var record = RedriveRecord(base: 0)
    /// What the record will be when everything under way is confirmed.
    private var plan = RedriveRecord(base: 0)
    private var sent: [Sent] = []
    private var sentBytes = 0
    private var deadline: ContinuousClock.Instant?
    /// The offset after the message that was read last.
    private var position: Int64 = 0
    /// Whether no more can be remembered.
    private var isScattered = false
    /// What was known of the partition when it was looked at last.
    private var news: ReadyPartitions.News = 0

    init(_ partition: KafkaConsumer.Partition, end: Int64, run: RedriveRun) {
        self.partition = partition
        self.end = end
        self.run = run
    }

    private var reader: PartitionReader { partition.ownership.reader }
    private var configuration: KafkaRedrive.Configuration { run.configuration }

    /// - Returns: Whether it came to the end; not where the partition went away or the run is to end.
    func goThrough() async throws -> Bool {
        partition.ownership.core.beginOwnLoop(reader)
        try await readRecord()
        do {
            let isFinished = try await readAll()
            try await settle()
            return isFinished
        } catch {
            // What is confirmed of what was sent before is remembered all the same.
            try? await settle()
            throw error
        }
    }

    /// Once the partition is ours no other member commits it, so this is the last word.
    private func readRecord() async throws {
        let (run, number) = (run, partition.partition)
        let extents = try await run.interruptible { try await run.extents(of: number) }
        guard let extent = extents[number] else { return }
        record = extent.record
        plan = record
        position = record.base
    }

    private func readAll() async throws -> Bool {
        while position < end {
            if run.isStopping { return false }
            switch try await step() {
            case .ended: return false
            case .atEnd: return true
            case .nothing: try await settle()
            case .delivery(let delivery):
                if delivery.offset >= end { return true }
                guard try await look(at: delivery) else { return isScattered }
                position = OffsetTracker.nextToRead(after: delivery.offset)
            }
        }
        return true
    }

    private func step() async throws(KafkaError) -> Step {
        var isWakeOrdered = false
        while true {
            switch reader.take() {
            case .delivery(let delivery): return .delivery(delivery)
            case .ended: return .ended
            case .failed(let error): throw error
            case .empty, .full: if reader.isAtEnd { return .atEnd }
            }
            if let deadline {
                if ContinuousClock.now >= deadline { return .nothing }
                if !isWakeOrdered { partition.ownership.core.wake(reader, at: deadline) }
                isWakeOrdered = true
            }
            if await !partition.ownership.core.waitForNews(of: reader, since: &news) {
                if let failure = partition.ownership.core.failure { throw failure }
                return .ended
            }
        }
    }

    /// Sends a letter, or says why not.
    ///
    /// - Returns: False where nothing more is to be read.
    private func look(at delivery: KafkaConsumer.Delivery) async throws -> Bool {
        if record.contains(delivery.offset) {
            run.count { $0.redrivenBefore += 1 }
            delivery.acknowledge()
            return true
        }
        let letter = KafkaRedrive.Letter(delivery)
        switch letter.decide(configuration) {
        case .failure(let left):
            run.count { $0.count(left.reason) }
            // Of this consumer alone: nothing is committed of it.
            delivery.acknowledge()
            try await run.observer(letter, .left(left.reason))
        case .success(let topic):
            while !run.takePermit() {
                if try await isAtMaximum() { return false }
            }
            switch try await redrive(delivery, letter, to: topic) {
            case .sent: return try await !isAtMaximum()
            case .refused(let error):
                run.returnPermit()
                try await leave(delivery, letter, error)
            case .stopped:
                run.returnPermit()
                return false
            }
        }
        return true
    }

    /// Whether as many are sent as may be, which ends the run. Of those under way some may be refused, and do not count.
    private func isAtMaximum() async throws -> Bool {
        if run.hasPermits { return false }
        try await settle()
        return run.stopAtMaximum()
    }

    /// What sending a replay came to.
    private enum Attempt {
        case sent
        /// It would be refused at any other time, too.
        case refused(KafkaError)
        /// Nothing more is to be read.
        case stopped
    }

    /// Leaves a letter whose replay is refused. The run goes on: for the ones after it that says nothing.
    private func leave(
        _ delivery: KafkaConsumer.Delivery,
        _ letter: KafkaRedrive.Letter,
        _ error: KafkaError
    ) async throws {
        run.count { $0.unsendable += 1 }
        // Of this consumer alone: nothing is committed of it.
        delivery.acknowledge()
        try await run.observer(letter, .refused(error))
    }

    private func redrive(
        _ delivery: KafkaConsumer.Delivery,
        _ letter: KafkaRedrive.Letter,
        to topic: String
    ) async throws -> Attempt {
        let message = letter.replay(to: topic, configuration.timestamps)
        guard let producer = run.producer else {
            if let error = message.refusal(maximumBytes: run.maximumMessageBytes) { return .refused(error) }
            run.count { $0.redriven += 1 }
            delivery.acknowledge()
            try await run.observer(letter, .selected(topic: topic))
            return .sent
        }
        if let error = message.refusal(maximumBytes: .max) { return .refused(error) }
        let slot = run.takeSlot()
        if slot > .now {
            if deadline.map({ $0 < slot }) ?? false { try await settle() }
            await run.pause(until: slot)
        }
        // After what was settled, which plans anew.
        let offsets = min(position, delivery.offset)..<OffsetTracker.nextToRead(after: delivery.offset)
        plan.insert(offsets)
        guard plan.fits else {
            // Sent, it could not be remembered, and would be sent once more the next time.
            isScattered = true
            run.count { _ = $0.scatteredPartitions.insert(partition.partition) }
            return .stopped
        }
        if run.isStopping || !delivery.isCurrent { return .stopped }
        do {
            let pending = try await run.interruptible(isPatient: true) { try await producer.enqueue(message) }
            sent.append(
                Sent(delivery: delivery, letter: letter, message: message, offsets: offsets, pending: pending)
            )
        } catch {
            if let error = error as? KafkaError {
                if error.isRefusalOfReplay {
                    planAnew()
                    return .refused(error)
                }
                try await run.observer(letter, .failed(error))
            }
            throw error
        }
        sentBytes += message.payloadCount
        deadline = deadline ?? .now.advanced(by: Self.maximumUnrememberedTime)
        let isEnough = sent.count >= Self.maximumUnremembered || sentBytes >= Self.maximumUnrememberedBytes
        if isEnough || deadline.map({ $0 <= .now }) ?? false { try await settle() }
        return .sent
    }

    /// Waits for what was sent, and remembers what is confirmed: commits first, acknowledges then.
    ///
    /// - Throws: The first error of a replay, or why nothing could be remembered.
    private func settle() async throws {
        guard let producer = run.producer, !sent.isEmpty else { return }
        let batch = sent
        let before = record
        (sent, sentBytes, deadline) = ([], 0, nil)
        var outcomes: [(Sent, KafkaRedrive.Outcome)] = []
        var failure: (any Error)?
        let results = try await run.interruptible(isPatient: true) {
            var results: [Result<KafkaDeliveryReport, KafkaError>] = []
            for sent in batch { results.append(await Self.report(of: sent, producer)) }
            return results
        }
        for (sent, result) in zip(batch, results) {
            switch result {
            case .success(let report):
                record.insert(sent.offsets)
                outcomes.append((sent, .redriven(report)))
            case .failure(let error) where error.isRefusalOfReplay:
                outcomes.append((sent, .refused(error)))
            case .failure(let error):
                failure = failure ?? error
                outcomes.append((sent, .failed(error)))
            }
        }
        do {
            if record != before { try await commit() }
        } catch {
            failure = failure ?? error
        }
        for (sent, outcome) in outcomes {
            do {
                switch outcome {
                case .refused(let error):
                    run.returnPermit()
                    try await leave(sent.delivery, sent.letter, error)
                    continue
                case .redriven:
                    sent.delivery.acknowledge()
                    run.count { $0.redriven += 1 }
                default: break
                }
                try await run.observer(sent.letter, outcome)
            } catch {
                failure = failure ?? error
            }
        }
        planAnew()
        if let failure { throw failure }
    }

    /// What was planned for a letter that was refused will not be remembered.
    private func planAnew() {
        plan = record
        for sent in sent { plan.insert(sent.offsets) }
    }

    private static func report(
        of sent: Sent,
        _ producer: KafkaProducer
    ) async -> Result<KafkaDeliveryReport, KafkaError> {
        do throws(KafkaError) {
            do throws(KafkaError) {
                return .success(try await producer.report(of: sent.pending, sent.message))
            } catch {
                guard error.kind == .unknownTopicOrPartition, sent.message.partition != nil else { throw error }
                // The original partition is not there any more, or not in that topic.
                var elsewhere = sent.message
                elsewhere.partition = nil
                return .success(try await producer.sendByItself(elsewhere))
            }
        } catch {
            return .failure(error)
        }
    }

    private func commit() async throws {
        let kept = record.fitting
        let offset = PartitionOffset(
            partition: reader.partition,
            offset: kept.base,
            metadata: Array(kept.metadata.utf8)
        )
        let (core, reader, logger) = (partition.ownership.core, reader, run.logger)
        try await run.interruptible(isPatient: true) {
            try await core.blocking.run {
                Result { () throws(KafkaError) in try RedriveCommit.run(offset, reader, logger) }
            }
            .get()
        }
    }
}

extension KafkaRedrive.Summary {
    fileprivate mutating func count(_ reason: KafkaRedrive.Reason) {
        switch reason {
        case .filtered: filtered += 1
        case .notADeadLetter: notDeadLetters += 1
        case .redrivenTooOften, .wouldReturn: refused += 1
        }
    }
}
