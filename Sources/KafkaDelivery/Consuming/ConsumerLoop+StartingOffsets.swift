internal import Logging

/// Asking the application where partitions begin; see ``StartingOffsets``.
extension ConsumerLoop {
    /// How long the question for committed offsets may take, which the application is told.
    private static let committedTimeout = Duration.seconds(5)

    /// Newly assigned partitions: nothing of them is handed out before the application has said where they begin.
    ///
    /// - Returns: Whether they are to be asked about.
    func askForStartingOffsets(_ assigned: [PartitionReader]) -> Bool {
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
        if !isAsked { handleCommittedBeforeStart(held, []) }
        return true
    }

    func handleCommittedBeforeStart(_ held: [PartitionReader], _ committed: [PartitionOffset]) {
        let offsets = Dictionary(committed.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
        let current = held.filter { readers[$0.partition] === $0 && $0.isReading }
        startingOffsets.assigned(
            current.map { reader in
                let entry = offsets[reader.partition]
                return (reader, entry?.error == nil ? entry.map(\.offset).flatMap { $0 >= 0 ? $0 : nil } : nil)
            },
            at: clock.now
        )
    }

    func advanceStartingOffsets() {
        perform(startingOffsets.advance(at: clock.now))
    }

    /// Partitions went: what the application is asked about them is not waited for.
    func cancelStartingOffsets(of readers: some Sequence<PartitionReader>) {
        perform(startingOffsets.ended(readers))
    }

    func handleStartingOffset(_ reader: PartitionReader, _ result: Result<Int64?, any Error>) {
        questions[ObjectIdentifier(reader)] = nil
        switch startingOffsets.answered(reader, result, at: clock.now) {
        case .outdated:
            break
        case .begin(let offset?):
            core.bring([reader], to: .offset(offset))
        case .begin(nil) where isSought(reader.partition):
            core.bring([reader], to: core.configuration.start)
        case .begin(nil):
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
