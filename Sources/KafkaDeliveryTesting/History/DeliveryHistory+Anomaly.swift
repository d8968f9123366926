extension DeliveryHistory {
    /// A promise that a history shows to be broken.
    public struct Anomaly: Sendable, Hashable, CustomStringConvertible {
        /// The kinds of broken promise.
        ///
        /// The first seven have the names that Jepsen's Kafka workload gives them. That workload polls, and a poll is a range
        /// of a partition; here a message is handed over, maybe more than once, and gets a verdict. So each is said anew.
        ///
        /// A message is *known* where its send was confirmed, it was delivered, or it was read from the log. It is *settled*
        /// from when some consumer was about to acknowledge it; or, where a dead letter of it was read, from when some
        /// consumer was about to give it up. A *run* is one consumer's deliveries of one partition in one generation, in
        /// ``Order/key`` those of one key.
        public enum Kind: String, Sendable, Hashable, CaseIterable, Codable {
            /// Jepsen's `lost-write`: a confirmed message was never delivered, though one after it in its partition was; or
            /// it is not in the log, though one after it is.
            case lostWrite
            /// Jepsen's `unseen`: a confirmed message was never delivered, and neither was one after it in its partition.
            /// (There the lost ones are among the unseen. Here a message is one or the other.)
            case unseen
            /// Jepsen's `duplicate`: one message is stored at more than one offset. A message that is delivered again at the
            /// same one is no duplicate. An idempotent producer prevents it for as long as none of its messages times out.
            case duplicate
            /// Jepsen's `inconsistent-offsets`: one offset has different messages in different eyes.
            case inconsistentOffsets
            /// Jepsen's `G1a`, an aborted read: a message was delivered or stored whose send failed as certainly not stored.
            case abortedRead
            /// Jepsen's `poll-skip`: between two messages that a run handed over is a known one that it did not.
            case pollSkip
            /// Jepsen's `nonmonotonic-poll`: within a run, a message came after a later one; came for the first time twice;
            /// came again without having failed, or with an attempt that does not follow the one before; or, in
            /// ``Order/partition`` and ``Order/key``, came while an earlier one that had failed had not come again.
            case nonMonotonicPoll
            /// A committed offset, or the beginning of a run, lies behind a known message that was not settled then.
            case committedPastUnsettled
            /// The committed offset went back.
            case commitMovedBack
            /// A message was delivered to a consumer that was made after its offset had been seen to be committed.
            case committedRedelivered
            /// A message was settled in a run that ended in a clean hand-over, and delivered again in another.
            ///
            /// A hand-over is clean where the consumer says that the partition was revoked, not lost; no commit of it failed
            /// in the run; and as many deliveries were unsettled as the records say, so that each verdict is known to have
            /// come in time. It covers the messages up to the first that was not settled.
            case settledRedelivered
            /// A dead letter names a message that is not known, has another value than it, or belongs to one that no consumer
            /// failed to handle.
            case deadLetterWithoutOriginal
            /// As ``committedPastUnsettled``, of a message that a consumer had given up.
            case settledWithoutDeadLetter

            // Where messages are transformed (``Event/transforming(_:value:key:)``, ``Event/output(of:at:value:)``), each is
            // to have one output, and is settled by that and by nothing else.

            /// A known message has no committed output, and no committed offset lies behind it: it was not done.
            case lostOutput
            /// A committed offset lies behind a known message that has no committed output: it never will be done.
            case commitWithoutOutput
            /// A message has more than one committed output.
            case duplicateOutput
            /// In one partition of outputs, that of a message comes after that of a later message of its partition.
            case reorderedOutput
            /// An output names a message that is not known, or was not transformed.
            case outputWithoutInput
            /// An output was read, and after that a committed offset that does not lie behind its message.
            case outputWithoutCommit
        }

        /// What kind it is.
        public let kind: Kind

        /// The message, or the committed offset, that shows it; nil where there is no single position.
        public let position: Position?

        /// What happened, for a person.
        public let description: String

        init(_ kind: Kind, _ position: Position?, _ what: String) {
            self.kind = kind
            self.position = position
            self.description = "\(kind.rawValue): \(what)"
        }
    }
}
