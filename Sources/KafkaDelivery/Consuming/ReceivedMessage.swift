internal import Synchronization

/// One attempt to hand out a received message, and the right to say once what became of it.
///
/// Its bytes stay where librdkafka received them until the application asks for a copy. The first attempt owns them; later ones
/// keep the first alive.
@usableFromInline
final class ReceivedMessage: @unchecked Sendable {
    // Sendable because any task may have it, and what it points at does not change once librdkafka's thread has put the message into
    // its queue, but for the headers: librdkafka parses them on first use, which `headerLock` lets one task do at a time.
    private let view: RdKafkaMessage.View
    // What `view` looks at; nil where the first attempt has it. Declared, and so destroyed, before the client.
    private let own: RdKafkaMessage?
    private let headerLock = Mutex(())
    private let first: ReceivedMessage?
    // Set once, by the first verdict, under the reader's lock; looked at without.
    private let verdict = Atomic(GivenVerdict.none)
    // Kept alive for as long as it has a message out: rd_kafka_destroy waits for all of them. Of later attempts the first does.
    private let client: RdKafkaClient?
    let reader: PartitionReader
    let sequence: OffsetTracker.Sequence
    /// From 1.
    let attempt: Int
    /// How many processes began with this message in their way and died, where it was found to be what killed them.
    let fatalCrashes: Int?

    enum GivenVerdict: UInt8, AtomicRepresentable {
        case none
        case acknowledged
        case rejected
        /// Not handed to a handler yet, and due later.
        case postponed
        /// Part of a transaction, whose end is its verdict.
        case claimed
    }

    init(
        _ message: consuming RdKafkaMessage,
        client: RdKafkaClient?,
        reader: PartitionReader,
        sequence: OffsetTracker.Sequence,
        fatalCrashes: Int?
    ) {
        self.view = message.view
        self.own = consume message
        self.client = client
        self.reader = reader
        self.sequence = sequence
        self.fatalCrashes = fatalCrashes
        self.attempt = 1
        self.first = nil
    }

    /// The next attempt at the message of another.
    init(after previous: ReceivedMessage) {
        self.view = previous.view
        self.own = nil
        self.client = nil
        self.reader = previous.reader
        self.sequence = previous.sequence
        self.fatalCrashes = previous.fatalCrashes
        self.attempt = previous.attempt + (previous.verdict.load(ordering: .relaxed) == .postponed ? 0 : 1)
        self.first = previous.first ?? previous
    }

    deinit {
        if verdict.load(ordering: .relaxed) == .none { reader.abandon(sequence) }
    }

    @discardableResult
    func acknowledge() -> VerdictEffect {
        reader.acknowledge(self)
    }

    @discardableResult
    func reject(after delay: Duration, holdingPartition holdsPartition: Bool) -> VerdictEffect {
        reader.reject(self, as: .rejected, after: delay, holdsPartition: holdsPartition)
    }

    /// Holds the message back, and its partition where that is said, without this having been an attempt.
    @discardableResult
    func postpone(for delay: Duration, holdingPartition holdsPartition: Bool = true) -> VerdictEffect {
        reader.reject(self, as: .postponed, after: delay, holdsPartition: holdsPartition)
    }

    /// Makes the message part of a transaction.
    func claim(for transaction: UInt64) -> PartitionReader.Claim {
        reader.claim(self, for: transaction)
    }

    /// Notes the verdict where it is the first. Called with the reader's lock held.
    ///
    /// - Returns: What a later one comes to; nil for the first.
    func give(_ new: GivenVerdict) -> VerdictEffect? {
        let given = verdict.load(ordering: .relaxed)
        if given == .none {
            verdict.store(new, ordering: .relaxed)
            return nil
        }
        // What is part of a transaction has its verdict from that, whatever its handler's loop says too.
        return given == new || given == .claimed ? .repeated : .contradicted
    }

    /// Whether a transaction has the message, or had it.
    var isClaimed: Bool { verdict.load(ordering: .relaxed) == .claimed }

    /// Whether this attempt has its verdict.
    var hasVerdict: Bool { verdict.load(ordering: .relaxed) != .none }

    /// Whether this attempt was said to come again, also where that was too late to count.
    var isRejected: Bool {
        let verdict = verdict.load(ordering: .relaxed)
        return verdict == .rejected || verdict == .postponed
    }

    /// Whether the partition is still being read in this generation, and was not sought elsewhere.
    var isCurrent: Bool { reader.isCurrent(sequence) }

    var offset: Int64 { view.offset }

    @usableFromInline
    var key: UnsafeRawBufferPointer? { view.key }

    @usableFromInline
    var value: UnsafeRawBufferPointer? { view.value }

    var timestamp: (KafkaTimestamp, KafkaConsumer.Delivery.TimestampType)? {
        view.timestamp.map { ($0, $1 ? .appended : .created) }
    }

    var headers: KafkaHeaders {
        // librdkafka keeps the parsed headers in the message, so the attempts at one share a lock.
        (first ?? self).headerLock.withLock { _ in view.headers }
    }
}
