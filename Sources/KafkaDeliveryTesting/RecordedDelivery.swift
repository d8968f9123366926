public import KafkaDelivery

/// A delivery that is made by hand and records its verdict, to test a service's handler without a cluster.
///
/// ```swift
/// let made = RecordedDelivery(of: KafkaMessage(topic: "orders", key: "42", value: "three apples"), attempt: 2)
/// try await billing.handle(made.delivery)
/// #expect(made.verdict == .acknowledged)
/// ```
///
/// A handler that is given to `forEach` need not give a verdict: returning and throwing are enough, and the verdict is nil then.
/// A transaction refuses such a delivery (`invalidArgument`), which comes from no consumer.
public struct RecordedDelivery: Sendable {
    /// What a handler said of the delivery.
    public enum Verdict: Sendable, Hashable {
        /// ``KafkaDelivery/KafkaConsumer/Delivery/acknowledge()``.
        case acknowledged
        /// ``KafkaDelivery/KafkaConsumer/Delivery/negativelyAcknowledge(_:after:)``, with this delay.
        case negativelyAcknowledged(after: Duration)
    }

    private let made: MadeDelivery

    /// A delivery of a message.
    ///
    /// - Parameters:
    ///   - message: What it says. Where it has no partition, that is 0.
    ///   - offset: Its offset in the partition.
    ///   - generation: In which period of owning the partition it is delivered.
    ///   - attempt: How many times it is handed over, this time included.
    ///   - timestampType: Who set the timestamp.
    ///   - crashes: How many processes died while they handled it, see ``KafkaDelivery/KafkaConsumer/Delivery/crashes``.
    public init(
        of message: KafkaMessage,
        offset: Int64 = 0,
        generation: Int = 1,
        attempt: Int = 1,
        timestampType: KafkaConsumer.Delivery.TimestampType? = .created,
        crashes: Int? = nil
    ) {
        made = MadeDelivery(
            message,
            offset: offset,
            generation: generation,
            attempt: attempt,
            isAppendTime: message.timestamp == nil ? nil : timestampType.map { $0 == .appended },
            crashes: crashes
        )
    }

    /// What to give to the handler.
    public var delivery: KafkaConsumer.Delivery { KafkaConsumer.Delivery(made: made) }

    /// The first verdict, which counts; nil where there was none.
    public var verdict: Verdict? {
        switch made.verdict {
        case nil: nil
        case .acknowledged: .acknowledged
        case .rejected(_, let delay): .negativelyAcknowledged(after: delay)
        }
    }

    /// The error that was given with a negative acknowledgement.
    public var error: (any Error)? {
        if case .rejected(let error, _) = made.verdict { error } else { nil }
    }
}
