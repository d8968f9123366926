internal import Logging

/// Where newly assigned partitions begin: where the group has committed, where the consumer was told to start, or where the
/// application says. The shell around ``StartingOffsets`` and ``PostponedSeeks``, of the consumer's thread.
final class PartitionStarts {
    private let core: ConsumerCore
    private let client: RdKafkaClient
    /// Partitions that were assigned before: where the consumer was told to start counts only the first time.
    private var known: Set<KafkaTopicPartition> = []
    private var postponed = PostponedSeeks<PartitionReader>()
    /// Partitions that the application is asked about, and the tasks in which it answers.
    private var startingOffsets = StartingOffsets<PartitionReader>()
    private var questions: [ObjectIdentifier: Task<Void, Never>] = [:]

    init(_ core: ConsumerCore, _ client: RdKafkaClient) {
        self.core = core
        self.client = client
    }

    /// When there is something to do.
    var next: ContinuousClock.Instant? {
        [postponed.next, startingOffsets.next].compactMap(\.self).min()
    }

    /// Takes the next step.
    func advance() {
        for case .bring(let readers, let start) in postponed.advance(at: .now) {
            PartitionSeek(core).bring(readers, to: start)
        }
        perform(startingOffsets.advance(at: .now))
    }

    // MARK: An assignment

    /// What librdkafka is told of where each partition starts.
    func points(_ partitions: [PartitionOffset]) -> [PartitionOffset] {
        let offset: Int64
        switch core.configuration.start {
        case .committed where core.configuration.hasGroup: return partitions
        // librdkafka would ask for the offsets of the group that it was given in place of none.
        case .committed:
            offset = core.configuration.autoOffsetReset == .end ? PartitionOffset.end : PartitionOffset.beginning
        case .beginning: offset = PartitionOffset.beginning
        // Until it is known where that is, there is no need to fetch much.
        case .end, .timestamp, .offset, .last: offset = PartitionOffset.end
        }
        return partitions.map { entry in
            var entry = entry
            if !known.contains(entry.partition) { entry.offset = offset }
            return entry
        }
    }

    /// Holds back those of which nothing may be handed out before it is known where they begin, and asks the application where
    /// that is its to say. Before librdkafka is told of the assignment.
    ///
    /// - Returns: Those that ``bring(_:)`` brings to where the consumer was told to start.
    func hold(_ assigned: [PartitionReader]) -> [PartitionReader] {
        askApplication(assigned) ? [] : assigned.filter { isSought($0.partition) && $0.beginSeek() }
    }

    /// librdkafka has been told.
    func noteAssigned(_ partitions: [KafkaTopicPartition]) {
        known.formUnion(partitions.filter { !isSought($0) })
    }

    /// Brings what was held back to where the consumer was told to start.
    func bring(_ held: [PartitionReader]) {
        if !held.isEmpty { PartitionSeek(core).bring(held, to: core.configuration.start) }
    }

    /// A partition was brought there.
    func started(_ partition: KafkaTopicPartition) {
        known.insert(partition)
    }

    /// Partitions are to be brought somewhere at a time: what failed is tried again.
    func postpone(
        _ readers: [PartitionReader],
        to start: KafkaConsumer.Configuration.Start,
        due: ContinuousClock.Instant
    ) {
        postponed.add(readers, to: start, due: due)
    }

    /// Whether a partition starts at an offset that has to be looked up: it is accepted at once, because the group waits
    /// for the answer, and nothing is handed out until it was brought there.
    ///
    /// An offset that was given is one of those: given to librdkafka, one that the partition does not hold would lead to where
    /// a new group starts, and so to all messages once more, without a word.
    private func isSought(_ partition: KafkaTopicPartition) -> Bool {
        switch core.configuration.start {
        case .timestamp, .offset, .last: !known.contains(partition)
        case .committed, .beginning, .end: false
        }
    }

    // MARK: Asking the application

    /// How long the question for committed offsets may take, which the application is told.
    private static let committedTimeout = Duration.seconds(5)

    /// Nothing of newly assigned partitions is handed out before the application has said where they begin.
    ///
    /// - Returns: Whether it is asked.
    private func askApplication(_ assigned: [PartitionReader]) -> Bool {
        guard core.configuration.startingOffset != nil, !assigned.isEmpty else { return false }
        let held = assigned.filter { $0.beginSeek() }
        let (core, client) = (core, client)
        // The question blocks.
        let isAsked =
            core.configuration.hasGroup
            && BlockingThread.start("kafka-committed") {
                let committed = client.committed(held.map(\.partition), within: Self.committedTimeout)
                core.send(.committedBeforeStart(held, (try? committed.get()) ?? []))
            }
        if !isAsked { committedBeforeStart(held, []) }
        return true
    }

    /// What is committed of partitions that the application is to be asked about.
    func committedBeforeStart(_ held: [PartitionReader], _ committed: [PartitionOffset]) {
        let offsets = Dictionary(committed.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
        startingOffsets.assigned(
            held.filter(\.isReading).map { reader in
                let entry = offsets[reader.partition]
                return (reader, entry?.error == nil ? entry.map(\.offset).flatMap { $0 >= 0 ? $0 : nil } : nil)
            },
            at: .now
        )
    }

    /// Partitions went: what the application is asked about them is not waited for.
    func ended(_ readers: some Sequence<PartitionReader>) {
        perform(startingOffsets.ended(readers))
    }

    /// The application has answered.
    func answered(_ reader: PartitionReader, _ result: Result<Int64?, any Error>) {
        questions[ObjectIdentifier(reader)] = nil
        switch startingOffsets.answered(reader, result, at: .now) {
        case .outdated:
            break
        case .begin(let offset?):
            PartitionSeek(core).bring([reader], to: .offset(offset))
        case .begin(nil) where isSought(reader.partition):
            PartitionSeek(core).bring([reader], to: core.configuration.start)
        case .begin(nil):
            reader.finishSeek()
        case .fail(let error):
            reader.fail(
                KafkaError(
                    .client,
                    recovery: .fixRequest,
                    reason: "\(reader.partition) cannot begin where the application says: \(error)",
                    underlyingError: error
                )
            )
            reader.finishSeek()
        case .retry(let delay):
            guard case .failure(let error) = result else { return }
            core.logger.warning(
                "The application has not said where a partition begins: it is not read, and asked about again",
                metadata: [
                    "kafka_partition": "\(reader.partition)", "kafka_error": "\(error)", "kafka_delay": "\(delay)",
                ]
            )
            core.events.send(.startingOffsetFailed(reader.partition, error, retryAfter: delay))
        }
    }

    private func perform(_ actions: [StartingOffsets<PartitionReader>.Action]) {
        for action in actions {
            switch action {
            case .cancel(let reader): questions.removeValue(forKey: ObjectIdentifier(reader))?.cancel()
            case .ask(let reader, let committed): ask(reader, committed)
            }
        }
    }

    private func ask(_ reader: PartitionReader, _ committed: Int64?) {
        guard let startingOffset = core.configuration.startingOffset else { return }
        let partition = KafkaConsumer.AssignedPartition(
            partition: reader.partition,
            generation: reader.generation,
            committedOffset: committed
        )
        let core = core
        questions[ObjectIdentifier(reader)] = Task.detached {
            let result: Result<Int64?, any Error>
            do { result = .success(try await startingOffset(partition)) } catch { result = .failure(error) }
            core.send(.startingOffset(reader, result))
        }
    }
}
