internal import CRdKafka

/// What the librdkafka that runs does in another way than other versions, or than its documentation says: each decision that
/// depends on it is made here.
///
/// Everything in this folder is about such behaviour: lines of its log that are read because nothing else says the same
/// (``GroupLog``), calls that are made for a side effect, text of its errors that is compared, bytes whose format is its own. What
/// each is, which versions do it, which test shows it and when it can go, is a line of LIBRDKAFKA.md.
struct Quirks: Sendable {
    /// Of the version that this process runs on.
    static let current = Quirks(.current)

    let version: LibrdkafkaVersion

    init(_ version: LibrdkafkaVersion) {
        self.version = version
    }

    private func isSince(_ major: UInt8, _ minor: UInt8, _ revision: UInt8) -> Bool {
        version >= LibrdkafkaVersion(major, minor, revision)
    }
}

// MARK: What newer versions do better: since when, and what is done before

extension Quirks {
    /// `fetch.queue.backoff.ms`: a full prefetch queue is looked at again after that time. Before, and with less delay, by
    /// ``RdKafkaClient/wakeBrokerThreads()``.
    var hasFetchQueueBackoff: Bool { isSince(2, 2, 0) }

    /// A cooperative-sticky consumer that has joined and was never assigned anything can be destroyed. Before, an assertion
    /// ends the process (librdkafka's issue 4312), and it is destroyed with `RD_KAFKA_DESTROY_F_IMMEDIATE`.
    var destroysUnassignedConsumers: Bool { isSince(2, 3, 0) }

    /// A batch is put together again as it was when it is repeated. From 2.2.0 to 2.4.0 it may not be (librdkafka's issue 4736): an
    /// idempotent producer then fails with `_INCONSISTENT`, which is fatal, and says of its messages that they may be stored.
    var repeatsBatchesAsTheyWere: Bool { !isSince(2, 2, 0) || isSince(2, 5, 0) }

    /// SCRAM sends the client's nonce once. Before, it is sent twice, which Kafka 4 refuses like a wrong password.
    var logsIntoKafka4WithScram: Bool { isSince(2, 6, 1) }

    /// A commit that meets the group's next generation costs the commit. Before, it costs the whole assignment, and
    /// ``GroupLog`` tells when not to commit.
    var keepsAssignmentAfterStaleCommit: Bool { isSince(2, 10, 0) }

    /// A client keeps no connection of its bootstrap servers once it knows the brokers (librdkafka's 4557), and connects to those
    /// anew. Its producer id is asked for when the first metadata arrive: before, over the connection that they came on; since
    /// then there is none at that moment, and it tries again half a second later. ``RdKafkaClient/hastenProducerID()`` helps.
    var forgetsBootstrapServers: Bool { isSince(2, 10, 0) }

    /// `metadata.recovery.strategy`, with `rebootstrap` as its default (KIP-899, KIP-1102): where all brokers are away, be it for a
    /// moment, a client forgets them and begins with its bootstrap servers.
    var rebootstraps: Bool { isSince(2, 11, 0) }

    /// `group.protocol=consumer`, KIP-848. Before 2.12 it was a preview with parts missing.
    var hasConsumerGroupProtocol: Bool { isSince(2, 12, 0) }

    /// Whether a transactional client may be used again after an abort in which a message failed for good, or may be stored
    /// without being confirmed. In every version so far it may not: the former leaves a gap in its sequence numbers, which it
    /// holds against the next transaction, and the latter's numbers are given again, so that the broker takes the next
    /// transaction's messages for repetitions, confirms them, and stores nothing. A new client begins a sequence of its own.
    var sequencesSurviveAnAbortWithFailures: Bool { false }
}

// MARK: Settings

extension Quirks {
    /// Settings that depend on the version, for a consumer or a producer; not those that the application has made.
    func defaults(isConsumer: Bool, value: (String) -> String?) -> [(name: String, value: String)] {
        var result: [(String, String)] = []
        if isConsumer, hasFetchQueueBackoff, value(RdKafkaProperty.fetchQueueBackoff) == nil {
            result.append((RdKafkaProperty.fetchQueueBackoff, "10"))
        }
        // A transactional producer that forgets its brokers in the middle of a transaction (librdkafka 2.16 does whenever the
        // only broker's connection is cut) may not be answered any more until the operation's time is over. Where brokers are
        // away for longer, its transaction fails, and the next client begins with the bootstrap servers anyway.
        if rebootstraps, value(RdKafkaProperty.transactionalID) != nil, value(RdKafkaProperty.metadataRecovery) == nil {
            result.append((RdKafkaProperty.metadataRecovery, "none"))
        }
        return result
    }

    /// With what a client is destroyed (`rd_kafka_destroy_flags`).
    ///
    /// - Parameter isJoining: Whether it is a consumer that has joined a group and was not assigned anything yet.
    func destroyFlags(isJoining: Bool) -> Int32 {
        // The group was left, or given up, before: destroying does not wait for it once more.
        let flags = Int32(RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
        return isJoining && !destroysUnassignedConsumers ? flags | Self.immediate : flags
    }

    /// Whether librdkafka's threads may still use what they were given when a call to destroy the client with these flags has
    /// returned.
    static func endsAtOnce(_ destroyFlags: Int32) -> Bool { destroyFlags & immediate != 0 }

    /// `RD_KAFKA_DESTROY_F_IMMEDIATE`, which is not in the header: leaves out what is done after the client's threads have ended,
    /// where the assertion of issue 4312 is, and so frees less.
    private static let immediate: Int32 = 0x4
}

// MARK: Errors

extension Quirks {
    /// What a client that cannot log in should know beside what the broker says.
    ///
    /// - Parameter mechanism: `sasl.mechanism`.
    func explain(_ error: KafkaError, mechanism: String) -> KafkaError {
        guard error.kind == .authentication, mechanism.uppercased().hasPrefix("SCRAM"), !logsIntoKafka4WithScram else {
            return error
        }
        return KafkaError(
            error.kind,
            persistence: error.persistence,
            recovery: error.recovery,
            reason: "\(error.reason); the password may be right all the same, for SCRAM of librdkafka \(version) "
                + "cannot log in to Kafka 4: librdkafka 2.6.1 and newer can, and PLAIN with any",
            code: error.code
        )
    }
}
