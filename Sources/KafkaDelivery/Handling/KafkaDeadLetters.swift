/// Publishes messages that were given up to their dead-letter topics.
///
/// A dead letter has the key, value and headers of the original, and headers that say where it comes from and why
/// (``KafkaDeadLetter``). It goes to the same partition of `<topic>-dlt` where that exists. Its timestamp is that of its
/// sending, from which the retention of its topic counts; the original's is in ``KafkaDeadLetter/originalTimestamp``.
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

    let copies: ConfirmedCopy
    let topicName: @Sendable (_ original: String) -> String

    /// What becomes of a message whose dead letter can never be stored.
    public var onRefusal: Refusal

    /// How many times processes may begin at the same committed offset, and die before they get any further, until the
    /// message that kills them is looked for and becomes a dead letter itself, with a ``KafkaPoisonMessage`` as its error;
    /// nil, the default, does not count. Less than 2 counts as 2: a machine may fail once without a message's fault.
    ///
    /// A crash that a message causes (a trap, `abort()`, memory that runs out) leaves nobody to give a verdict, and whoever
    /// takes over is handed the same message. So each assignment commits the number of starts beside the offset, before its
    /// first message is handed out, and progress or an orderly end clears it. After too many starts the consumer hands out
    /// one message at a time, of all its partitions, and commits which before it does so: the next process knows which one
    /// it was. It looks among the first 64 messages, for after the first of such starts no more than that are handed out
    /// beyond what is committed.
    ///
    /// What it costs: one commit for each partition's assignment, and a pause of about a round trip before its first message.
    /// What it cannot see: a handler that settles its delivery and brings the process down later. A process that is killed
    /// from outside while messages are on trial is taken for killed by the one in hand; its dead letter says so, and can be
    /// sent again. The broker has to keep texts with offsets (`offset.metadata.max.bytes`, 4,096 where nobody changed it);
    /// where it does not, that is reported (``KafkaConsumer/Event/problem(_:_:)``) and nothing is counted.
    ///
    /// Counting begins with the first assignment after `forEach` was called, and needs
    /// ``KafkaConsumer/Configuration/Start/committed``.
    public var maximumStarts: Int?

    /// Publishes through a producer, which stays the caller's to close.
    ///
    /// - Parameters:
    ///   - producer: What to publish with. Its ``KafkaProducer/Configuration/messageTimeout`` is how long one attempt
    ///     may take.
    ///   - topicName: The dead-letter topic of a topic. Loops refuse to begin where it is no possible name of a topic, of those
    ///     topics that the consumer's configuration names.
    ///   - onRefusal: What becomes of a message whose dead letter can never be stored.
    ///   - maximumStarts: How often processes may die before the message that kills them is looked for, see
    ///     ``maximumStarts``.
    public init(
        producer: KafkaProducer,
        topicName: @escaping @Sendable (_ original: String) -> String = { $0 + "-dlt" },
        onRefusal: Refusal = .hold,
        maximumStarts: Int? = nil
    ) {
        self.maximumStarts = maximumStarts
        self.copies = ConfirmedCopy(producer: producer)
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
        let content = delivery.content
        let letter = KafkaDeadLetter(origin, content.headers, group: group, error: error, topicName: topicName)
        var copy = MessageCopy(letter, of: content, to: topicName(origin.topic), partition: origin.partition)
        // Sent again, it begins anew.
        if origin.stage != nil { copy.remove { KafkaRetriedMessage.Header.isOurs($0) } }
        return copy
    }
}
