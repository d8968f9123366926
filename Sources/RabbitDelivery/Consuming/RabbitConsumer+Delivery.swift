internal import Synchronization

extension RabbitConsumer {
    /// One attempt to hand a received message to the application, which says what became of it.
    ///
    /// A delivery can be copied, stored and passed to other tasks; its verdict can be given once, from anywhere, in any order with
    /// others. One that is let go of without a verdict keeps its place in ``Configuration/prefetch``, and the broker delivers it
    /// again when the channel ends.
    public struct Delivery: Sendable {
        let message: ReceivedMessage
        /// Which order it belongs to, where its loop keeps several.
        @usableFromInline package var orderKey: String?

        init(_ message: ReceivedMessage) {
            self.message = message
        }

        // MARK: Where it comes from

        /// The exchange it was published to; empty for the default one.
        public var exchange: String { message.deliver.exchange }

        /// The key it was published with.
        public var routingKey: String { message.deliver.routingKey }

        /// On which channel of the consumer's life it was delivered, counted from 1. A verdict counts only within its generation.
        public var generation: Int { message.channel.number }

        /// How many times the message was handed over on this channel, from 1.
        public var attempt: Int { message.attempt }

        /// Whether the broker had delivered it before, to this consumer or another (`redelivered`).
        public var isRedelivered: Bool { message.deliver.isRedelivered }

        /// How many times the broker had delivered it before without an acknowledgement; nil but for quorum queues
        /// (`x-delivery-count`).
        public var brokerDeliveryCount: Int? {
            properties.headers["x-delivery-count"]?.integer.map { Int(clamping: $0) }
        }

        // MARK: What it says

        /// The body.
        public var body: [UInt8] { message.content.body }

        /// The body as text, where it is UTF-8.
        public var text: String? { String(validating: body, as: UTF8.self) }

        /// AMQP's properties, decoded at each call.
        public var properties: RabbitProperties { message.properties }

        /// Whether ``properties`` says nothing because what was sent cannot be read: its headers have tables in each other deeper than
        /// ``RabbitFieldValue/maximumDepth``. The body is there all the same; a handler to which headers matter throws.
        public var hasUnreadableProperties: Bool { message.content.hasUnreadableProperties }

        /// The headers, decoded at each call.
        public var headers: RabbitTable { properties.headers }

        /// A copy of everything that was sent. To send it on, set another exchange or routing key; the user id must be the sending
        /// connection's, or nil.
        public var content: RabbitMessage {
            RabbitMessage(exchange: exchange, routingKey: routingKey, body: body, properties: properties)
        }

        // MARK: What becomes of it

        /// Says that the message is finished.
        ///
        /// Cannot fail and does not wait: the broker is told soon after, together with others. When the channel has ended it changes
        /// nothing, and the message is delivered again. Saying it again changes nothing.
        public func acknowledge() {
            message.channel.core?.acknowledge(message)
        }

        /// Says that handling the message failed: it is handed over again by this consumer, with ``attempt`` increased. Meanwhile it
        /// keeps its place in ``Configuration/prefetch``, and the broker knows nothing of it.
        ///
        /// Cannot fail and does not wait. The first verdict counts: one that contradicts it is reported.
        ///
        /// - Parameter delay: How long to hold the message back; ``Configuration/maximumBackoff`` at most.
        public func negativelyAcknowledge(_ error: (any Error)? = nil, after delay: Duration = .zero) {
            _ = message.channel.core?.backOff(message, after: delay, holdsOthers: false, countsAttempt: true)
        }

        /// Gives the message back to the queue (`basic.nack` with `requeue`), for this or another consumer.
        ///
        /// It is delivered again at once, as long as it fails thousands of times a second: a hot loop, unless the queue is a
        /// quorum queue with a delivery limit, or this consumer is about to close. ``negativelyAcknowledge(_:after:)`` waits.
        public func requeue() {
            _ = message.channel.core?.reject(message, requeue: true)
        }

        /// Gives the message up (`basic.nack` without `requeue`): the broker sends it to the queue's dead-letter exchange, and where
        /// there is none, or that routes it nowhere, it is gone without a word.
        public func reject() {
            _ = message.channel.core?.reject(message, requeue: false)
        }
    }
}

extension RabbitConsumer.Delivery: CustomStringConvertible {
    /// Which message it is: `orders [1] 42`.
    public var description: String {
        "\(message.channel.core?.configuration.queue ?? "a queue") [\(generation)] \(message.deliver.tag)"
    }
}

extension RabbitConsumer.Delivery: SettleableDelivery {
    @usableFromInline
    package var deliverySource: any DeliverySource { message.channel }
    @usableFromInline
    package var deliverySequence: DeliverySequence { message.deliver.tag }
    @usableFromInline
    package var isCurrent: Bool { message.channel.isCurrent(message.deliver.tag) }

    @usableFromInline
    package var settlement: HandlingOutcome? {
        switch message.verdict.load(ordering: .acquiring) {
        case .none: nil
        case .acknowledged, .rejected: .settled
        case .backsOff: .backsOff
        }
    }

    @usableFromInline
    package func negativelyAcknowledge(_ error: any Error, after delay: Duration, holdingOthers holdsOthers: Bool) {
        _ = message.channel.core?.backOff(message, after: delay, holdsOthers: holdsOthers, countsAttempt: true)
    }

    @usableFromInline
    package func postpone(for delay: Duration, holdingOthers holdsOthers: Bool) -> VerdictEffect {
        message.channel.core?.backOff(message, after: delay, holdsOthers: holdsOthers, countsAttempt: false) ?? .ended
    }
}
