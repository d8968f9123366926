internal import Logging

/// Counting crashes, so that a message that kills the process is found; see ``PoisonDetector``.
extension ConsumerLoop {
    /// What the thread knows of it.
    struct Crashes {
        /// After how many crashes at the same offset messages are probed; nil where that is not asked for.
        var maximum: Int?
        /// Whether the whole consumer hands out one message at a time.
        var isProbing = false
        var turns = TurnQueue()
        /// Readers whose committed offsets have to be asked for again, and when.
        var unread: [(due: Instant, readers: [PartitionReader])] = []
        /// What this process committed last: what it finds again after it lost an assignment says nothing of others.
        private var written: [KafkaTopicPartition: PartitionOffset] = [:]

        init(maximum: Int?) {
            self.maximum = maximum
        }

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
    func beginCountingCrashes(_ assigned: [PartitionReader]) {
        guard let maximum = crashes.maximum else { return }
        for reader in assigned {
            reader.detectPoison(maximumCrashes: maximum)
            reader.setOneAtATime(crashes.isProbing)
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
        if !isStarted { crashes.unread.append((clock.now.advanced(by: Self.readInterval), readers)) }
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
                if let died = reader.read(entry, isOwn: crashes.isOwn(entry)) { reportSuspicion(reader, died) }
                return true
            }
        }
        guard !unread.isEmpty else { return }
        if let failure { core.report(failure, of: unread.first?.partition) }
        crashes.unread.append((clock.now.advanced(by: Self.readInterval), unread))
    }

    private func reportSuspicion(_ reader: PartitionReader, _ died: Int) {
        core.logger.warning(
            "Processes died again and again at the same offset, messages are handed out one at a time",
            metadata: ["kafka_partition": "\(reader.partition)", "kafka_crashes": "\(died)"]
        )
        core.events.send(.crashesExceeded(reader.partition, crashes: died))
    }

    /// When the committed offsets have to be asked for again.
    var nextNoteReading: Instant? { crashes.unread.map(\.due).min() }

    /// Takes the next step of counting crashes.
    func advanceCrashCounts() {
        guard crashes.maximum != nil else { return }
        let now = clock.now
        if crashes.unread.contains(where: { $0.due <= now }) {
            let due = crashes.unread.filter { $0.due <= now }.flatMap(\.readers)
            crashes.unread.removeAll { $0.due <= now }
            readNotes(of: due.filter { readers[$0.partition] === $0 })
        }
        let isProbing = readers.values.contains(where: \.needsProbing)
        if isProbing != crashes.isProbing {
            crashes.isProbing = isProbing
            crashes.turns.removeAll()
            for reader in readers.values { reader.setOneAtATime(isProbing) }
            if !isProbing {
                core.logger.notice("Messages are handed out freely again")
                committer.schedule(at: now)
            }
        }
        if isProbing { advanceProbe() }
    }

    /// One message at a time: the last one's end, then the next one's beginning, which is committed before it is handed out.
    private func advanceProbe() {
        if let current = crashes.turns.current {
            guard let reader = readers[current], !reader.hasEndedTurn() else {
                crashes.turns.end()
                for reader in readers.values { reader.setProbeOut(false) }
                // What has survived is not to be blamed for what happens next, also where no other partition wants a turn.
                committer.schedule(at: clock.now)
                return advanceProbe()
            }
            // Only when no other message is noted any more: two would both be blamed.
            let isOnlyOne = readers.values.allSatisfy { $0 === reader || !$0.isProbeStored }
            if isOnlyOne { reader.grantTurn() }
            return
        }
        for reader in readers.values where reader.wantsTurn {
            crashes.turns.add(reader.partition, isUrgent: reader.hasSuspect)
        }
        guard let next = crashes.turns.begin() else { return }
        // What was handed out before is waited for. No message is handed out again meanwhile, or it would be blamed.
        for reader in readers.values { reader.setProbeOut(true) }
        guard readers.values.allSatisfy({ $0.heldCount == 0 }) else {
            crashes.turns.postpone()
            for reader in readers.values { reader.setProbeOut(false) }
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
    /// committed without it, and crashes are not counted.
    func stopCountingCrashes() {
        guard crashes.maximum != nil else { return }
        crashes = Crashes(maximum: nil)
        for reader in readers.values { reader.stopDetecting() }
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
