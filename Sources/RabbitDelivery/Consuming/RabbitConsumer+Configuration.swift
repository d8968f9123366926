public import CoreMetrics

extension RabbitConsumer {
    /// The settings of a consumer. Only the broker and the queue are required.
    public struct Configuration: Sendable {
        /// Where the broker is, and how to log in.
        public var broker: RabbitBroker

        /// The queue.
        public var queue: String

        /// What is declared on each connection before anything is received.
        public var topology: RabbitTopology

        /// How many deliveries may be without the broker's knowing of a verdict, 1 to 65,535 (`basic.qos`). It bounds what the
        /// consumer holds; a message that backs off occupies a place.
        public var prefetch = 250

        /// Whether this is to be the only consumer of the queue (`exclusive`); another one is refused (403).
        public var isExclusive = false

        /// Arguments of the consumer (`basic.consume`): `x-priority`, or `x-stream-offset`, without which a stream is read from its
        /// next message on (`next`).
        ///
        /// After a reconnect a stream is read on at the first message without a verdict, so that what was acknowledged behind that
        /// comes again. A consumer that had received nothing yet begins as it did at first. Where a program begins when it is
        /// started again is its own affair: it keeps the `x-stream-offset` header of what it has handled.
        ///
        /// **That holds only where the settings say that the queue is a stream**: by `x-stream-offset` here, or by ``topology``, which
        /// has the queue as one. AMQP has no question for it, and the header that a stream's messages have may be their sender's.
        /// Otherwise a stream is read from its next message on after each reconnect, and what was between is left out.
        public var arguments: RabbitTable = [:]

        /// What the broker calls the consumer; nil for a name of the broker's choice. One name cannot be twice on a channel.
        public var consumerTag: String?

        /// How long an acknowledgement may wait for others, to go to the broker with them; zero or more. A quarter of
        /// ``prefetch`` goes at once.
        public var acknowledgementInterval: Duration = .milliseconds(10)

        /// How long a message may back off in the client, at most. The broker closes a channel on which a delivery is
        /// unanswered for `consumer_timeout`, half an hour by default; this stays well below.
        public var maximumBackoff: Duration = .seconds(600)

        /// How long ``RabbitConsumer/run()`` and the end of ``withRabbitConsumer(_:logger:_:)`` may take.
        public var closeTimeout: Duration = .seconds(30)

        /// Where metrics go; nil for the backend that the process has bootstrapped when the client is made.
        public var metricsFactory: (any MetricsFactory)?

        /// How often metrics are brought up to date; tests wait for that.
        package var metricsInterval: Duration = .seconds(5)

        /// The settings for a queue.
        public init(
            _ broker: RabbitBroker,
            queue: String,
            prefetch: Int = 250,
            topology: RabbitTopology = RabbitTopology()
        ) {
            self.broker = broker
            self.queue = queue
            self.prefetch = prefetch
            self.topology = topology
        }

        /// The settings for a queue.
        public init(hosts: [String], queue: String, prefetch: Int = 250, topology: RabbitTopology = RabbitTopology()) {
            self.init(RabbitBroker(hosts: hosts), queue: queue, prefetch: prefetch, topology: topology)
        }

        /// Whether the queue is a stream, as far as the settings say.
        var isStream: Bool {
            arguments["x-stream-offset"] != nil
                || topology.queues.contains { $0.name == queue && $0.allArguments["x-queue-type"]?.string == "stream" }
        }

        func validate() throws(RabbitError) {
            try broker.validate()
            if let fault = topology.fault { throw fault }
            guard !queue.isEmpty, queue.utf8.count <= 255 else {
                throw .invalidConfiguration("the queue's name is empty or has more than 255 bytes")
            }
            guard (1...65_535).contains(prefetch) else {
                throw .invalidConfiguration("prefetch is \(prefetch), not from 1 to 65535")
            }
            if let fault = arguments.fault { throw .invalidConfiguration("arguments: \(fault.reason)") }
            guard consumerTag?.utf8.count ?? 0 <= 255 else {
                throw .invalidConfiguration("consumerTag has more than 255 bytes")
            }
            guard acknowledgementInterval >= .zero, maximumBackoff >= .zero, closeTimeout >= .zero else {
                throw .invalidConfiguration("acknowledgementInterval, maximumBackoff or closeTimeout is less than zero")
            }
        }
    }
}
