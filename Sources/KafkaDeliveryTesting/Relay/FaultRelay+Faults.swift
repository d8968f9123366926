extension FaultRelay {
    /// What is wrong with the network. The default is nothing.
    ///
    /// Numbers outside of what makes sense count as the nearest that does: no fault's setting can fail.
    public struct Faults: Sendable, Hashable {
        /// What is wrong with one direction of each connection.
        public struct Flow: Sendable, Hashable {
            /// How long bytes take, at least. Bytes stay in order.
            public var delay: Duration = .zero

            /// How much longer than ``delay`` they may take; drawn anew, evenly, for what arrives together.
            public var jitter: Duration = .zero

            /// How many bytes a second pass, at most, 1 or more; nil for as many as can.
            public var bytesPerSecond: Int?

            /// Nothing passes and nothing is closed: the other end looks alive and says nothing. What was on its way
            /// passes when the hole is closed again, as TCP sends again what was lost.
            public var isBlackHole = false

            /// Each connection is cut when so many bytes have passed this way in its life, 0 or more; what is beyond is
            /// lost. Zero cuts with the first byte. Nil for never.
            public var cutsAfterBytes: Int?

            /// Each connection is cut after a number of bytes this way that is drawn at random, with this mean
            /// (exponentially distributed), 1 or more; often in the middle of a request or response, whose rest is lost.
            /// Nil for never.
            public var meanBytesBetweenCuts: Int?

            /// Nothing is wrong.
            public init() {}
        }

        /// Answers that get lost while requests pass: the broker does what it was asked, and the client cannot know. The
        /// lost confirmation that makes a retry store a message twice.
        ///
        /// From the lost answer on everything that the broker says on that connection is lost, for TCP leaves nothing
        /// out in the middle; then the connection is cut, as it is when a path is broken in one direction.
        public struct ResponseLoss: Sendable, Hashable {
            /// How likely each answer is to be the one, from 0 to 1.
            public var probability: Double

            /// Which requests' answers are looked at; empty for all. Needs an unencrypted connection: in an encrypted
            /// one the relay sees no answers, and nothing is lost unless this is empty, in which case every read counts
            /// as one.
            public var kinds: Set<KafkaRequestKind>

            /// How long requests still pass, unanswered, before the connection is cut; zero or more. Nil for ever.
            public var cutsAfter: Duration?

            /// Loses answers.
            ///
            /// - Parameters:
            ///   - probability: How likely each answer is to be lost, with what follows on its connection.
            ///   - kinds: Which requests' answers are looked at; empty for all.
            ///   - cutsAfter: How long requests still pass before the connection is cut; nil for ever.
            public init(
                probability: Double,
                kinds: Set<KafkaRequestKind> = [.produce],
                cutsAfter: Duration? = .milliseconds(10)
            ) {
                self.probability = probability
                self.kinds = kinds
                self.cutsAfter = cutsAfter
            }
        }

        /// From the client to the broker.
        public var requests = Flow()

        /// From the broker to the client.
        public var responses = Flow()

        /// Answers that get lost while requests pass; nil for none.
        public var responseLoss: ResponseLoss?

        /// Nothing is wrong.
        public init() {}
    }

    /// What a relay has done so far.
    public struct Statistics: Sendable, Hashable {
        /// Connections that clients opened.
        public internal(set) var connections = 0
        /// Of these, those that are open.
        public internal(set) var openConnections = 0
        /// Connections that the relay cut, for whatever reason.
        public internal(set) var cuts = 0
        /// Times that an answer was lost on purpose, with what followed on its connection.
        public internal(set) var lostResponses = 0
        /// Bytes that passed from clients to brokers, or are on their way.
        public internal(set) var requestBytes = 0
        /// Bytes that passed from brokers to clients, or are on their way.
        public internal(set) var responseBytes = 0
    }

    /// Why a relay could not do what it was asked to.
    public struct Failure: Error, Hashable, CustomStringConvertible {
        /// What happened, for a person.
        public let description: String

        init(_ description: String) {
            self.description = description
        }
    }
}
