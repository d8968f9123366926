/// A destination that stores a batch and its number at once, or neither, so that no event is stored twice, whenever a publisher dies
/// and whoever goes on. Kafka's is `KafkaExactlyOnceDestination` of OutboxKafka.
///
/// For each slot the publisher does this, and nothing else touches the slot meanwhile, because it owns the slot:
/// 1. It reads the note of the last batch from the database, and takes the slot over here. From then on no earlier taking over of the
///    slot can store anything, and the destination says which batch it stored last. Where that is the one in the note, the rows of
///    the note are deleted; otherwise they were not stored, and are still there.
/// 2. It notes the next batch in the database, which only the slot's owner can, with a number that no other batch has or had, also
///    where tables were made anew or restored.
/// 3. It sends the batch, and deletes its rows once that is stored.
///
/// Whatever goes wrong with a batch, the slot is taken over anew before the next one.
public protocol ExactlyOnceDestination: OutboxDestination {
    /// Fences every earlier taking over of the slot, ends what that left open, and finds out what it stored last.
    ///
    /// - Parameters:
    ///   - slot: 0 to 31.
    ///   - destination: The name that the publisher has this destination under. A slot's rows for another name are another sequence of
    ///     batches: taking those over fences nothing of this one, and their numbers are not this one's.
    ///   - last: The note of the last batch of the slot's rows for that name; nil where there is none.
    /// - Throws: ``OutboxError`` where that is not possible now; it is tried again, with a back-off, for ever. Where its recovery is
    ///   `retry` and nothing shows that the destination is there, the destination counts as away; otherwise only these rows wait.
    func takeOver(
        slot: Int,
        destination: String,
        last: OutboxInflight?
    ) async throws(OutboxError) -> any ExactlyOnceWriter
}

/// One taking over of a slot. When another one has taken the slot over it can store nothing more.
public protocol ExactlyOnceWriter: Sendable {
    /// The number of the batch that was stored last when the slot was taken over; 0 where there was none.
    var lastNumber: Int64 { get }

    /// How many events the next batch has at most, 1 or more; asked before each one. What was read beyond that is read again.
    var maximumBatchCount: Int { get }

    /// Stores a batch of the slot and its number, all or nothing.
    ///
    /// - Parameters:
    ///   - batch: At least one event, in order.
    ///   - inflight: Its note, which is committed in the database.
    /// - Returns: What became of it.
    func publish(_ batch: [OutboxEvent], as inflight: OutboxInflight) async -> ExactlyOnceResult

    /// Ends it, soon.
    func close() async
}

extension ExactlyOnceWriter {
    /// As many as ``OutboxDestination/maximumBatchCount`` allows.
    public var maximumBatchCount: Int { .max }
}

/// What became of a batch that was to be stored exactly once.
public struct ExactlyOnceResult: Sendable, Hashable {
    /// One for each event: accepted for all, or for none. Where nothing was stored and that is known, those that are at fault are
    /// rejected or unroutable, and the others unavailable; where it is not known all are unknown.
    public var outcomes: [OutboxOutcome]

    /// Nothing was stored, and that is the batch's own fault, although no event of it is known to be: together they are too large, or take
    /// too long, or one of them is at fault and nothing says which. The slot is taken over anew after a wait, and its next batch is sent
    /// otherwise; the destination does not count as away, and other slots go on.
    public var isFaultOfBatch: Bool

    /// A result.
    public init(_ outcomes: [OutboxOutcome], isFaultOfBatch: Bool = false) {
        self.outcomes = outcomes
        self.isFaultOfBatch = isFaultOfBatch
    }

    /// One for each event; a missing one is unknown.
    func outcomes(of events: [OutboxEvent]) -> [OutboxOutcome] {
        if outcomes.count == events.count { return outcomes }
        let missing = OutboxOutcome.unknown(reason: "the destination gave no outcome")
        return events.indices.map { $0 < outcomes.count ? outcomes[$0] : missing }
    }
}
