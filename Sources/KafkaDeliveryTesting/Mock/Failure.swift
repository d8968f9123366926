extension MockCluster {
    /// Why a mock cluster did not do what it was asked to.
    public struct Failure: Error, Hashable, CustomStringConvertible {
        /// The kinds of failure.
        public enum Reason: Hashable, Sendable {
            /// A number is out of range, a name is not one that Kafka allows, or a broker does not exist.
            case invalidArgument
            /// The topic exists already, be it that a client asked for it and so created it.
            case topicExists
            /// The topic exists and does not have this partition.
            case unknownPartition
            /// The cluster was shut down.
            case shutDown
            /// librdkafka refused for a reason of its own, named in the description.
            case librdkafka
        }

        /// What kind of failure it is.
        public let reason: Reason

        /// What to do and what happened, for a person.
        public let description: String

        static func invalid(_ description: String) -> Failure {
            Failure(reason: .invalidArgument, description: description)
        }
    }
}
