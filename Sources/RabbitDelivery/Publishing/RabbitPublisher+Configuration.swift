public import CoreMetrics

extension RabbitPublisher {
    /// The settings of a publisher. Only the broker is required.
    public struct Configuration: Sendable {
        /// Where the broker is, and how to log in.
        public var broker: RabbitBroker

        /// What is declared on each connection before anything is published.
        public var topology: RabbitTopology

        /// How long a message may take from being accepted to being confirmed, connecting and waiting while the broker is blocked
        /// included; more than zero. A sender also waits at most this long for room.
        public var confirmTimeout: Duration = .seconds(60)

        /// How many messages may be without their outcome, 1 to 1,000,000. When it is reached, senders wait.
        public var maximumUnconfirmed = 1_000

        /// How many bytes of bodies may be without their outcome, 1 or more. When it is reached, senders wait; a message that is
        /// larger is taken when nothing else is under way.
        public var maximumUnconfirmedBytes = 64 << 20

        /// The largest body, 1 byte to 512 MiB. The broker has a limit of its own (`max_message_size`, 128 MiB by
        /// default), and closes the channel for a larger one, with all that is under way on it.
        public var maximumBodyBytes = 128 << 20

        /// How long ``RabbitPublisher/run()`` and the end of ``withRabbitPublisher(_:logger:_:)`` wait for what is under way.
        public var closeTimeout: Duration = .seconds(30)

        /// Where metrics go; nil for the backend that the process has bootstrapped when the client is made.
        public var metricsFactory: (any MetricsFactory)?

        /// How often metrics are brought up to date; tests wait for that.
        package var metricsInterval: Duration = .seconds(5)

        /// The safe settings for a broker.
        public init(_ broker: RabbitBroker, topology: RabbitTopology = RabbitTopology()) {
            self.broker = broker
            self.topology = topology
        }

        /// The safe settings for a broker.
        public init(hosts: [String], topology: RabbitTopology = RabbitTopology()) {
            self.init(RabbitBroker(hosts: hosts), topology: topology)
        }

        func validate() throws(RabbitError) {
            try broker.validate()
            if let fault = topology.fault { throw fault }
            guard confirmTimeout > .zero else {
                throw .invalidConfiguration("confirmTimeout is \(confirmTimeout), not more than zero")
            }
            guard (1...1_000_000).contains(maximumUnconfirmed) else {
                throw .invalidConfiguration("maximumUnconfirmed is \(maximumUnconfirmed), not from 1 to 1000000")
            }
            guard maximumUnconfirmedBytes > 0 else {
                throw .invalidConfiguration("maximumUnconfirmedBytes is \(maximumUnconfirmedBytes), not more than zero")
            }
            guard (1...ContentAssembler.maximumBody).contains(maximumBodyBytes) else {
                throw .invalidConfiguration("maximumBodyBytes is \(maximumBodyBytes), not from 1 byte to 512 MiB")
            }
            guard closeTimeout >= .zero else {
                throw .invalidConfiguration("closeTimeout is \(closeTimeout), less than zero")
            }
        }
    }
}
