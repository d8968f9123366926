internal import Logging

/// Counting starts, so that a message that kills the process is found; see ``StartGuard``.
extension ConsumerLoop {
    /// What the thread knows of it.
    struct Starts {
        /// How many starts without progress are one too few for a trial; nil where nobody asked for counting.
        var maximum: Int?
        /// Whether the whole consumer hands out one message at a time.
        var isTrial = false
        var turns = TurnQueue()
        /// Readers whose committed offsets have to be asked for again, and when.
        var unread: [(due: Instant, readers: [PartitionReader])] = []
        /// What this process committed last: what it finds again after it lost an assignment says nothing of others.
        private var written: [KafkaTopicPartition: PartitionOffset] = [:]

        mutating func noteCommit(_ offsets: [PartitionOffset]) {
            guard maximum != nil else { return }
            for offset in offsets { written[offset.partition] = offset }
        }

        func isOwn(_ entry: PartitionOffset) -> Bool {
            guard let own = written[entry.partition] else { return false }
            return own.offset == entry.offset && own.metadata == entry.metadata
        }
    }

    /// How long one question for committed offsets may take. Now and then 2.0.2 does not hear the coordinator's answer, and
    /// the next one is heard at once.
    private static let readTimeout = Duration.seconds(3)
    private static let readInterval = Duration.milliseconds(500)

    /// New partitions: what they may hand out depends on what is noted beside their offsets.
    func beginCountingStarts(_ assigned: [PartitionReader]) {
        guard let maximum = starts.maximum else { return }
        for reader in assigned {
            reader.guardStarts(maximum: maximum)
            reader.setOneAtATime(starts.isTrial)
        }
        readNotes(of: assigned)
    }

    /// Asks for what is committed, on a thread of its own, for the question blocks.
    private func readNotes(of readers: [PartitionReader]) {
        let (core, client) = (core, client)
        let partitions = readers.map(\.partition)
        let isStarted = BlockingThread.start("kafka-committed") {
            core.send(.committed(readers, client.committed(partitions, within: Self.readTimeout)))
        }
        if !isStarted { starts.unread.append((clock.now.advanced(by: Self.readInterval), readers)) }
    }

    func handleCommitted(_ asked: [PartitionReader], _ result: Result<[PartitionOffset], KafkaError>) {
        let current = asked.filter { readers[$0.partition] === $0 }
        guard !current.isEmpty else { return }
        var unread = current
        var failure: KafkaError?
        switch result {
        case .failure(let error): failure = error
        case .success(let offsets):
            let notes = Dictionary(offsets.map { ($0.partition, $0) }, uniquingKeysWith: { first, _ in first })
            unread.removeAll { reader in
                guard let entry = notes[reader.partition] else { return false }
                if let error = entry.error {
                    failure = error
                    return false
                }
                if let died = reader.read(entry, isOwn: starts.isOwn(entry)) { reportSuspicion(reader, died) }
                return true
            }
        }
        guard !unread.isEmpty else { return }
        if let failure { core.report(failure, of: unread.first?.partition) }
        starts.unread.append((clock.now.advanced(by: Self.readInterval), unread))
    }

    private func reportSuspicion(_ reader: PartitionReader, _ died: Int) {
        core.logger.warning(
            "Processes died again and again at the same offset, messages are handed out one at a time",
            metadata: ["kafka_partition": "\(reader.partition)", "kafka_starts": "\(died)"]
        )
        core.events.send(.startsExceeded(reader.partition, starts: died))
    }

    /// When the committed offsets have to be asked for again.
    var nextNoteReading: Instant? { starts.unread.map(\.due).min() }

    /// Takes the next step of counting starts.
    func advanceStartCounts() {
        guard starts.maximum != nil else { return }
        let now = clock.now
        if starts.unread.contains(where: { $0.due <= now }) {
            let due = starts.unread.filter { $0.due <= now }.flatMap(\.readers)
            starts.unread.removeAll { $0.due <= now }
            readNotes(of: due.filter { readers[$0.partition] === $0 })
        }
        let isTrial = readers.values.contains(where: \.isSuspect)
        if isTrial != starts.isTrial {
            starts.isTrial = isTrial
            starts.turns.removeAll()
            for reader in readers.values { reader.setOneAtATime(isTrial) }
            if !isTrial {
                core.logger.notice("Messages are handed out freely again")
                committer.schedule(at: now)
            }
        }
        if isTrial { advanceTrial() }
    }

    /// One message at a time: the last one's end, then the next one's beginning, which is committed before it is handed out.
    private func advanceTrial() {
        if let current = starts.turns.current {
            guard let reader = readers[current], !reader.hasEndedTurn() else {
                starts.turns.end()
                for reader in readers.values { reader.setTurnOut(false) }
                // What has survived is not to be blamed for what happens next, also where nobody else wants a turn.
                committer.schedule(at: clock.now)
                return advanceTrial()
            }
            // Only when no other message is noted any more: two would both be blamed.
            let isOnlyOne = readers.values.allSatisfy { $0 === reader || !$0.isTrialStored }
            if isOnlyOne { reader.grantTurn() }
            return
        }
        for reader in readers.values where reader.wantsTurn {
            starts.turns.add(reader.partition, isUrgent: reader.hasCulprit)
        }
        guard let next = starts.turns.begin() else { return }
        // What was handed out before is waited for. No message is handed out again meanwhile, or it would be blamed.
        for reader in readers.values { reader.setTurnOut(true) }
        guard readers.values.allSatisfy({ $0.heldCount == 0 }) else {
            starts.turns.postpone()
            for reader in readers.values { reader.setTurnOut(false) }
            return
        }
        readers[next]?.beginTurn()
        committer.schedule(at: clock.now)
        advanceCommits()
    }

    /// A message waits for a commit or for a turn.
    func handleAsk() {
        committer.schedule(at: clock.now)
    }

    /// The broker does not keep what would have to be noted (`offset.metadata.max.bytes` is too small): then offsets are
    /// committed without it, and starts are not counted.
    func stopCountingStarts() {
        guard starts.maximum != nil else { return }
        starts = Starts()
        for reader in readers.values { reader.stopGuarding() }
        core.report(
            KafkaError(
                .broker,
                recovery: .fixRequest,
                reason: "the broker refuses the text beside committed offsets (offset.metadata.max.bytes), so that "
                    + "messages that kill the process cannot be found",
                code: "OFFSET_METADATA_TOO_LARGE"
            )
        )
    }
}

extension ConsumerCore {
    /// Counts starts from the next assignment on, where a maximum is given.
    func countStarts(_ maximum: Int?) throws(KafkaError) {
        guard let maximum else { return }
        guard configuration.hasGroup else {
            throw .invalidConfiguration("maximumStarts counts beside the group's offsets, and there is no group")
        }
        guard configuration.start == .committed else {
            throw .invalidConfiguration(
                "maximumStarts counts starts at the committed offset, and the consumer's start is \(configuration.start)"
            )
        }
        send(.guardStarts(maximum: maximum))
    }
}
