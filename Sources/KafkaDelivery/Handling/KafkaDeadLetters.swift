internal import Logging

/// Publishes messages that were given up to their dead-letter topics.
///
/// A dead letter has the key, value and headers of the original, and headers that say where it comes from and why
/// (``KafkaDeadLetter``). It goes to the same partition of `<topic>-dlt` where that exists. Its timestamp is that of its
/// sending, from which the retention of its topic counts; the original's is in ``KafkaDeadLetter/originalTimestamp``.
public struct KafkaDeadLetters: Sendable {
    private let copies: ConfirmedCopy
    private let topicName: @Sendable (_ original: String) -> String

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
    ///   - topicName: The dead-letter topic of a topic.
    ///   - maximumStarts: How often processes may die before the message that kills them is looked for, see
    ///     ``maximumStarts``.
    public init(
        producer: KafkaProducer,
        topicName: @escaping @Sendable (_ original: String) -> String = { $0 + "-dlt" },
        maximumStarts: Int? = nil
    ) {
        self.maximumStarts = maximumStarts
        self.copies = ConfirmedCopy(producer: producer)
        self.topicName = topicName
    }

    /// Publishes a delivery's dead letter and waits until the broker has confirmed it, trying again for as long as it takes.
    ///
    /// - Parameter origin: Where the message was received from first: its dead letter goes to that topic's.
    /// - Returns: Where it is stored; nil where the partition was revoked meanwhile, and nothing more is published.
    func publish(
        _ delivery: KafkaConsumer.Delivery,
        _ origin: MessageOrigin,
        _ error: any Error,
        group: String,
        logger: Logger,
        onFailure: (KafkaError) -> Void
    ) async throws(CancellationError) -> KafkaDeliveryReport? {
        var letter = delivery.content
        letter.partition = origin.partition
        if origin.stage != nil {
            // Sent again, it begins anew.
            letter.headers.removeAll { KafkaRetriedMessage.Header.isOurs($0.name) }
        }
        letter.become(
            KafkaDeadLetter(origin, letter.headers, group: group, error: error, topicName: topicName),
            in: topicName(origin.topic)
        )
        return try await copies.send(
            letter,
            dispensable: KafkaDeadLetter.Header.names.exceptionMessage,
            for: delivery,
            logger: logger,
            onFailure: onFailure
        )
    }
}
