public import KafkaDelivery
public import Logging
public import OutboxDelivery
internal import Synchronization

/// A Kafka cluster as an outbox's destination.
///
/// ```swift
/// let kafka = try KafkaOutboxDestination(.init(bootstrapServers: ["localhost:9092"]))
/// let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": kafka])
/// ```
///
/// A row becomes a record: its topic, key, payload and headers, and beside these `idempotency-key`, `outbox-event-id` (slot and
/// number) and `outbox-created-at` (milliseconds since 1970). The attributes `partition` and `timestamp` (milliseconds since 1970)
/// are those of ``KafkaDelivery/KafkaMessage``.
///
/// A key's events for several topics, or partitions that the rows name, are in order too: one for another place than the one before it
/// is sent when that one is confirmed.
///
/// It has a producer of its own, for the order of a key: idempotent, and *without gaps* (librdkafka's
/// `enable.gapless.guarantee`). Where brokers refuse a record for good, the records behind it in its partition are not stored either,
/// which an ordinary producer would go on with; the producer is made anew then, and what travelled with the culprit is sent
/// again one by one, to find it. The messages' time-out should be long, for a record that runs out of it while it waits for a broker
/// leaves a gap that librdkafka does not see: the default here is an hour. A producer that gets nothing to its brokers for so long that
/// the publisher gives the batch up (``OutboxDelivery/OutboxPublisher/Configuration/batchTimeout``) is made anew: what it has not
/// sent is not sent any more, and all that was not confirmed is sent again, from the first on.
///
/// One request is under way to a broker at a time, unless the configuration says another number than the producer's default of 5: with
/// more, a broker that has just become a partition's leader may refuse the producer's first records there and store those behind them
/// (``KafkaDelivery/KafkaError/Kind/unconfirmed``), and what it refused then follows.
///
/// | Kafka | outcome |
/// |---|---|
/// | stored | accepted |
/// | handed to the network, and no answer | unknown |
/// | the topic or the partition is not there, or not allowed | unroutable |
/// | refused for good: too large, an impossible partition, … | rejected |
/// | brokers away, the log-in refused, the producer closed | unavailable |
public final class KafkaOutboxDestination: OutboxDestination {
    private struct State {
        var producer: KafkaProducer?
        var isClosed = false
    }

    private let configuration: KafkaProducer.Configuration
    private let logger: Logger
    // Batches of several slots, and closing, meet here.
    private let state: Mutex<State>

    /// A destination.
    ///
    /// - Parameters:
    ///   - configuration: The producer's. `idempotence` is always on. Of the producer's defaults two become others: a `messageTimeout`
    ///     of two minutes becomes an hour, and `maximumInFlightRequests` of 5 becomes 1.
    ///   - logger: Where the producer's log lines go.
    /// - Throws: ``KafkaDelivery/KafkaError`` of kind `invalidConfiguration`.
    public init(
        _ configuration: KafkaProducer.Configuration,
        logger: Logger = Logger(label: "OutboxKafka")
    ) throws(KafkaError) {
        var configuration = configuration
        configuration.idempotence = true
        configuration.stampsIdempotencyKey = false
        if configuration.messageTimeout == .seconds(120) { configuration.messageTimeout = .seconds(3_600) }
        if configuration.maximumInFlightRequests == 5 { configuration.maximumInFlightRequests = 1 }
        configuration.additionalProperties["enable.gapless.guarantee"] = "true"
        self.configuration = configuration
        self.logger = logger
        self.state = Mutex(State(producer: try KafkaProducer(configuration, logger: logger)))
    }

    /// Ends the producer. What is under way gets its outcome within the time and a second. To be called after the publisher's
    /// end; where it is not called the producer ends with the destination.
    public func close(within timeout: Duration = .seconds(10)) async {
        let producer = state.withLock { state in
            state.isClosed = true
            return state.producer
        }
        await producer?.close(within: timeout)
    }

    /// 4,000: records are quick, and what the database waits for its disk is shared by more of them.
    public var maximumBatchCount: Int { 4_000 }

    /// Sends a batch, and waits for its confirmations.
    public func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
        guard let producer = currentProducer() else { return batch.map { _ in Self.closed } }
        var (outcomes, trouble) = await KafkaOutboxBatch(batch).send(through: producer)
        if trouble.isProducerDone || isGivenUp(outcomes) { replace(producer) }
        guard !trouble.refusedTogether.isEmpty else { return outcomes }
        // What travelled together with one that is at fault: by themselves each has an answer of its own. In order, and no further
        // than the first of a key that is not accepted.
        var stopped: Set<[UInt8]> = []
        for index in batch.indices where !outcomes[index].isAccepted {
            let key = batch[index].message.key
            if let key, stopped.contains(key) { continue }
            if trouble.refusedTogether.contains(index), !Task.isCancelled,
                let current = currentProducer()
            {
                let (alone, more) = await KafkaOutboxBatch([batch[index]]).send(through: current)
                if more.isProducerDone || isGivenUp(alone) { replace(current) }
                if let outcome = alone.first { outcomes[index] = outcome }
            }
            if let key, !outcomes[index].isAccepted { stopped.insert(key) }
        }
        return outcomes
    }

    /// Whether the publisher does not wait any longer, and records may still be in the producer: they would wait there for up to an hour,
    /// and be sent when others have sent them. What was refused is in it no more.
    private func isGivenUp(_ outcomes: [OutboxOutcome]) -> Bool {
        Task.isCancelled && outcomes.contains { if case .unknown = $0 { true } else { false } }
    }

    /// The producer; one is made where the last one could not be replaced.
    private func currentProducer() -> KafkaProducer? {
        state.withLock { state in
            if state.producer == nil, !state.isClosed {
                state.producer = try? KafkaProducer(configuration, logger: logger)
            }
            return state.producer
        }
    }

    /// A producer that is done is replaced once, whichever task finds out.
    private func replace(_ old: KafkaProducer) {
        let isReplaced = state.withLock { state in
            guard !state.isClosed, state.producer === old else { return false }
            state.producer = nil
            return true
        }
        guard isReplaced else { return }
        // What it still has was told its outcome already.
        Task.detached { await old.close(within: .zero) }
    }

    private static let closed = OutboxOutcome.unavailable(reason: "the producer is closed or is being made anew")
}
