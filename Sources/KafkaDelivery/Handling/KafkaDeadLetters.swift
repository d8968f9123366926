/// Publishes messages that were given up to their dead-letter topics.
///
/// A dead letter has the key, value and headers of the original, and headers that say where it comes from and why
/// (``KafkaDeadLetter``). It goes to the same partition of `<topic>-dlt` where that exists. Its timestamp is that of its
/// sending, from which the retention of its topic counts; the original's is in ``KafkaFailureOrigin/originalTimestamp``.
///
/// The original is settled when the broker has confirmed the letter. What fails and may succeed later is tried again for as
/// long as it takes. A letter that is refused (it is larger than the producer or its topic allows) is published without the
/// error's text, and then without any header but those that say where it comes from; the original's own headers, its key and
/// its value are never left out. What becomes of one that is refused even so, ``Refusal`` says. To have room for the headers,
/// give the producer a ``KafkaProducer/Configuration/maximumMessageBytes`` and the dead-letter topic a `max.message.bytes`
/// that are some kilobytes above those of the original topic.
public struct KafkaDeadLetters: Sendable {
    /// What becomes of a message that was given up and whose dead letter can never be stored: it is too large, or its topic's
    /// name is too long. That a topic is not there or must not be written to is nothing of that kind: it is tried again, until
    /// that is seen to. Nor is a producer that is closed or has failed for good: the message stays unsettled, a log line of
    /// level `error` says why, and a loop with a new producer publishes it.
    public enum Refusal: Sendable {
        /// The message stays unsettled and holds back its partition (in a loop that is not `perPartition`, what has its key, or
        /// nothing), and nothing after it is committed. ``KafkaConsumer/Event/deadLetterRefused(_:_:)``, the metric
        /// `kafka_consumer_dead_letter_refusals_total` and a log line of level `error` say so once. It is tried again
        /// every 10 seconds all the same (in `transform` every minute), for a limit may be raised.
        ///
        /// What is behind it is handled and cannot be committed, so that also in a loop that is not `perPartition` the partition
        /// stands still ``KafkaConsumer/Configuration/maximumUnsettledPerPartition`` deliveries later.
        case hold
        /// The application stores it elsewhere. When the closure returns, the original is settled
        /// (``KafkaConsumer/Event/handedOver(_:)``); when it throws, the letter and then the closure are tried again after a
        /// while, 10 seconds at most. It may be called more than once for a message: after a crash, and in a transaction
        /// that is aborted, it is.
        case handOver(
            @Sendable (
                _ delivery: KafkaConsumer.Delivery, _ letter: KafkaMessage, _ error: KafkaError
            ) async throws -> Void
        )
    }

    /// Nil where a transaction publishes them.
    let copies: ConfirmedCopy?
    let topicName: @Sendable (_ original: String) -> String

    /// What becomes of a message whose dead letter can never be stored.
    public var onRefusal: Refusal

    /// Called when a message is about to be settled because its dead letter is stored, or the application has taken it. Waited for; may
    /// be called again for the same one. Throws ``HandlingStop`` or `CancellationError` where the message is to be left unsettled; with
    /// ``HandlingStop/endLoop(_:)`` the loop ends, so that nothing behind it is handled.
    package var beforeSettling: (@Sendable (KafkaConsumer.Delivery) async throws -> Void)?

    /// Publishes through a producer, which stays the caller's to close.
    ///
    /// - Parameters:
    ///   - producer: What to publish with. Its ``KafkaProducer/Configuration/messageTimeout`` is how long one attempt
    ///     may take.
    ///   - topicName: The dead-letter topic of a topic. Loops refuse to begin where it is no possible name of a topic, of those
    ///     topics that the consumer's configuration names.
    ///   - onRefusal: What becomes of a message whose dead letter can never be stored.
    public init(
        producer: KafkaProducer,
        topicName: @escaping @Sendable (_ original: String) -> String = { $0 + "-dlt" },
        onRefusal: Refusal = .hold
    ) {
        self.copies = ConfirmedCopy(producer: producer)
        self.topicName = topicName
        self.onRefusal = onRefusal
    }

    /// Dead letters that are part of the transaction of ``KafkaConsumer/transform(through:maximumCount:maximumWait:retry:deadLetters:_:)``,
    /// which has a producer of its own. Other loops refuse to begin with them.
    ///
    /// - Parameters:
    ///   - topicName: The dead-letter topic of a topic.
    ///   - onRefusal: What becomes of a message whose dead letter can never be stored.
    public init(
        topicName: @escaping @Sendable (_ original: String) -> String = { $0 + "-dlt" },
        onRefusal: Refusal = .hold
    ) {
        self.copies = nil
        self.topicName = topicName
        self.onRefusal = onRefusal
    }

    /// A delivery's dead letter.
    ///
    /// - Parameter origin: Where the message was received from first: its dead letter goes to that topic's.
    func copy(
        of delivery: KafkaConsumer.Delivery,
        _ origin: MessageOrigin,
        _ error: any Error,
        group: String
    ) -> MessageCopy {
        let content = delivery.message
        let letter = KafkaDeadLetter(origin, content.headers, group: group, error: error, topicName: topicName)
        var copy = MessageCopy(letter, of: content, to: topicName(origin.topic), partition: origin.partition)
        // Sent again, it begins anew.
        if origin.retryTopic != nil { copy.remove { KafkaRetriedMessage.Header.isOurs($0) } }
        return copy
    }
}
