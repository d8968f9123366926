internal import CRdKafka

/// A version of librdkafka, and what can be expected of it: the only place that compares versions.
///
/// The headers say what a program was compiled with; the loader may find a newer library when it starts. So everything here
/// is decided by the version that runs (``current``), and a function that 2.0.2 does not have is looked up by its name when it
/// is first needed, never linked.
package struct LibrdkafkaVersion: Comparable, Sendable, CustomStringConvertible {
    /// The version that this process runs on (`rd_kafka_version`).
    package static let current = LibrdkafkaVersion(code: UInt32(bitPattern: rd_kafka_version()))

    /// Major, minor and revision in a byte each; a pre-release counts as its release.
    private let number: UInt32

    package init(_ major: UInt8, _ minor: UInt8, _ revision: UInt8) {
        number = UInt32(major) << 16 | UInt32(minor) << 8 | UInt32(revision)
    }

    /// - Parameter code: `0xMMmmrrxx`, where `xx` is ff in a release.
    private init(code: UInt32) {
        number = code >> 8
    }

    package static func < (one: Self, other: Self) -> Bool { one.number < other.number }

    /// As in `2.0.2`.
    package var description: String { "\(number >> 16).\(number >> 8 & 0xff).\(number & 0xff)" }
}

/// What newer versions do better. Each says since when, and what is done before.
extension LibrdkafkaVersion {
    /// `fetch.queue.backoff.ms`: a full prefetch queue is looked at again after that time. Before, and with less delay, by
    /// ``RdKafkaClient/wakeBrokerThreads()``.
    var hasFetchQueueBackoff: Bool { self >= Self(2, 2, 0) }

    /// A cooperative-sticky consumer that has joined and was never assigned anything can be destroyed. Before, an assertion
    /// ends the process (librdkafka's issue 4312), and it is destroyed with `RD_KAFKA_DESTROY_F_IMMEDIATE`.
    var destroysUnassignedConsumers: Bool { self >= Self(2, 3, 0) }

    /// SCRAM sends the client's nonce once. Before, it is sent twice, which Kafka 4 refuses like a wrong password.
    var logsIntoKafka4WithScram: Bool { self >= Self(2, 6, 1) }

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
            reason: "\(error.reason); the password may be right all the same, for SCRAM of librdkafka \(self) "
                + "cannot log in to Kafka 4: librdkafka 2.6.1 and newer can, and PLAIN with any",
            code: error.code
        )
    }

    /// A commit that meets the group's next generation costs the commit. Before, it costs the whole assignment, and
    /// ``GroupLog`` tells when not to commit.
    var keepsAssignmentAfterStaleCommit: Bool { self >= Self(2, 10, 0) }

    /// A client keeps no connection of its bootstrap servers once it knows the brokers (librdkafka's 4557), and connects to those
    /// anew. Its producer id is asked for when the first metadata arrive: before, over the connection that they came on; since
    /// then there is none at that moment, and it tries again half a second later. ``RdKafkaClient/hastenProducerID()`` helps.
    var forgetsBootstrapServers: Bool { self >= Self(2, 10, 0) }

    /// `metadata.recovery.strategy`, with `rebootstrap` as its default (KIP-899, KIP-1102): where all brokers are away, be it for a
    /// moment, a client forgets them and begins with its bootstrap servers. See ``RdKafkaConfiguration/makeClient(_:events:)``.
    var rebootstraps: Bool { self >= Self(2, 11, 0) }

    /// `group.protocol=consumer`, KIP-848. Before 2.12 it was a preview with parts missing.
    var hasConsumerGroupProtocol: Bool { self >= Self(2, 12, 0) }
}
