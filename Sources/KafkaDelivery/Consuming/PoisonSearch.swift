internal import Logging

/// Looks for messages that kill the process: the shell around ``CrashCounting``, of the consumer's thread. There is none where
/// the configuration does not ask for it (``KafkaConsumer/Configuration/maximumCrashes``).
///
/// Each partition has its part of it, a ``PoisonDetector``, which is asked for every message whether it may be handed out.
final class PoisonSearch {
    private typealias Counting = CrashCounting<PartitionReader>

    private let core: ConsumerCore
    private let client: RdKafkaClient
    private let maximumCrashes: Int
    /// Nil when it was given up.
    private var counting: Counting? = Counting()

    init?(_ core: ConsumerCore, _ client: RdKafkaClient) {
        guard let maximum = core.configuration.maximumCrashes else { return nil }
        self.core = core
        self.client = client
        self.maximumCrashes = maximum
    }

    /// When there is something to do.
    var next: ContinuousClock.Instant? { counting?.next }

    /// How long one question for committed offsets may take. Now and then 2.0.2 does not hear the coordinator's answer, and
    /// the next one is heard at once.
    private static let readTimeout = Duration.seconds(3)

    /// New partitions: what they may hand out depends on what is noted beside their offsets.
    func began(_ assigned: [PartitionReader]) {
        guard let counting else { return }
        for reader in assigned {
            reader.detectPoison(maximumCrashes: maximumCrashes)
            reader.setOneAtATime(counting.isOneAtATime)
        }
        readNotes(of: assigned)
    }

    /// These offsets are being committed.
    func committing(_ offsets: [PartitionOffset]) {
        counting?.committing(offsets)
    }

    /// A partition went.
    func ended(_ partition: KafkaTopicPartition) {
        counting?.ended(partition)
    }

    /// Takes the next step.
    ///
    /// - Returns: Whether something is to be committed at once.
    func advance(_ readers: [KafkaTopicPartition: PartitionReader]) -> Bool {
        perform(counting?.advance(readers, at: .now) ?? [], readers)
    }

    private func perform(_ actions: [Counting.Action], _ readers: [KafkaTopicPartition: PartitionReader]) -> Bool {
        var commits = false
        for action in actions {
            switch action {
            case .readNotes(let unread): readNotes(of: unread)
            case .setOneAtATime(let isOneAtATime):
                for reader in readers.values { reader.setOneAtATime(isOneAtATime) }
                if !isOneAtATime { core.logger.notice("Messages are handed out freely again") }
            case .hold:
                for reader in readers.values { reader.setProbeOut(true) }
                if perform(counting?.held(readers) ?? [], readers) { commits = true }
            case .release: for reader in readers.values { reader.setProbeOut(false) }
            case .beginTurn(let reader): reader.beginTurn()
            case .grantTurn(let reader): reader.grantTurn()
            case .commit: commits = true
            }
        }
        return commits
    }

    /// Asks for what is committed, on a thread of its own, for the question blocks.
    private func readNotes(of readers: [PartitionReader]) {
        let (core, client) = (core, client)
        let partitions = readers.map(\.partition)
        let isStarted = BlockingThread.start("kafka-committed") {
            core.send(.committed(readers, client.committed(partitions, within: Self.readTimeout)))
        }
        if !isStarted { counting?.notRead(readers, at: .now) }
    }

    /// The broker has said what is committed of partitions that were assigned, or could not.
    func read(_ asked: [PartitionReader], _ result: Result<[PartitionOffset], KafkaError>) {
        guard let counting, !asked.isEmpty else { return }
        var unread = asked
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
                if let died = reader.read(entry, isOwn: counting.isOwn(entry)) { reportSuspicion(reader, died) }
                return true
            }
        }
        guard !unread.isEmpty else { return }
        if let failure { core.report(failure, of: unread.first?.partition) }
        self.counting?.notRead(unread, at: .now)
    }

    private func reportSuspicion(_ reader: PartitionReader, _ died: Int) {
        core.logger.warning(
            "Processes died again and again at the same offset, messages are handed out one at a time",
            metadata: ["kafka_partition": "\(reader.partition)", "kafka_crashes": "\(died)"]
        )
        core.events.send(.crashesExceeded(reader.partition, crashes: died))
    }

    /// The broker does not keep what would have to be noted (`offset.metadata.max.bytes` is too small): then offsets are
    /// committed without it, and crashes are not counted.
    func giveUp(_ readers: some Sequence<PartitionReader>) {
        guard counting != nil else { return }
        counting = nil
        for reader in readers { reader.stopDetecting() }
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
