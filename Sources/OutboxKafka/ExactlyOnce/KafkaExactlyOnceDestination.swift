public import KafkaDelivery
public import Logging
public import OutboxDelivery

/// A Kafka cluster as an outbox's destination that stores each event exactly once, for readers of committed messages
/// (``KafkaDelivery/KafkaConsumer/Configuration/Isolation-swift.enum/readCommitted``, the default of this package's consumers).
///
/// ```swift
/// let kafka = try KafkaExactlyOnceDestination(.init(name: "shop-outbox", bootstrapServers: ["localhost:9092"]))
/// let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": kafka])
/// ```
///
/// Each batch of a slot is one Kafka transaction (KIP-98) of a producer whose transactional id is the slot's for the destination's name,
/// and with the batch the transaction commits its number, as an offset of a group without members that is named as the producer is. The
/// publisher has noted that number and the batch's rows in the database before. So whoever takes a slot over, after a crash at
/// whatever moment, first fences the earlier producer, and then knows from the two numbers whether the rows are stored: they are
/// deleted, or sent. No two batches ever have the same number, so tables that were made anew, or restored, delete nothing for it.
/// Where the numbers of `outbox` begin anew by themselves (`TRUNCATE … RESTART IDENTITY`), empty `outbox_inflight` too: its last notes
/// name rows by their numbers.
///
/// What it costs: two commits of the database and one of Kafka for each batch of a slot, where the ordinary destination has one and none;
/// so few events at a time are slower by the length of a Kafka commit, and a backlog nearly as fast. Up to 32 producers
/// for each destination's name, which the publishers share, and which are made when a slot has something to send.
///
/// What it needs:
/// - ``Configuration/name`` is the outbox's: the same in all publishers of it, another one for each other outbox on the cluster, also
///   for a copy of the database. Several destinations of one outbox may have the same one: the name that the publisher has each
///   under tells them apart.
/// - All publishers of the outbox deliver to the destination's name exactly once, also `kafka-delivery outbox publish`
///   (`--exactly-once`). One that does not, ``KafkaOutboxDestination`` under the same name, reads no notes: what was stored and
///   is not deleted yet it sends again. When changing from one to the other, end the publishers of the one first.
/// - Rights (ACLs): `Write` on transactional ids and topics, `Read` on the topics and on groups, for names that begin with
///   the name.
/// - Somebody takes over sooner than the brokers forget the offsets of a group without members (`offsets.retention.minutes`, a
///   week): a batch in doubt that is older is sent again.
///
/// A database that is restored from a backup has forgotten what was sent since, and sends it again.
///
/// A record that is refused aborts its batch. It is found, and counts as rejected; the others are sent again without its key. Where nothing
/// says which record is at fault, the slot's next batches are smaller, and their records are sent one after the other, each batch in
/// a transaction of its own under a note of its own: at most 128 records, and fewer where they take longer than half of
/// ``Configuration/transactionTimeout``. So the one at fault has an answer of its own; and records that are too large only together,
/// because a topic's `max.message.bytes` is below ``KafkaDelivery/KafkaProducer/Configuration/maximumBatchBytes``, are stored, only
/// slowly: set the latter to at most what the topics take. After such batches it is tried together again. Only the slot waits for all
/// that; others go on.
///
/// A topic for which the right to write is missing, or to read, which the number in its group takes, is
/// ``OutboxDelivery/OutboxOutcome/unroutable(reason:)``, as any topic that is not there: tried for
/// ``OutboxDelivery/OutboxRetry/unroutablePatience``, and then its keys are parked. Each of these attempts aborts the batch that it is in, so
/// until then the other rows of its slots go on more slowly.
///
/// Known limit: after a crash right after a note whose first row's topic may not be described, nothing says whether the batch is stored. The
/// slot's rows for the destination wait then until that right is granted, or the note is deleted by a person who knows that
/// the batch is not stored (`DELETE FROM outbox_inflight WHERE slot = …`). The others go on.
public final class KafkaExactlyOnceDestination: ExactlyOnceDestination {
    /// The settings.
    public struct Configuration: Sendable {
        /// What transactional ids and groups are named after: `shop-outbox-kafka-7` for the rows in slot 7 that are for the destination
        /// that the publisher has as `kafka`. Of a destination's name bytes other than letters, digits, `.` and `_` are written as `%2D`.
        /// 1 to 200 bytes.
        public var name: String

        /// How long a transaction may take until the coordinator aborts it (`transaction.timeout.ms`), 1 second to what the broker allows.
        /// Readers wait for an open transaction: also when a publisher has died, until its slots are taken over.
        public var transactionTimeout: Duration = .seconds(60)

        /// How long initialising or committing may take, retries included, and before a commit the confirmations, 1 ms to 24 days each.
        public var operationTimeout: Duration = .seconds(30)

        /// How records are sent. A record has at most ``transactionTimeout`` to be confirmed.
        public var producer: KafkaProducer.Configuration

        /// How many events a transaction has at most, over all slots that are sent at a time; 1 or more.
        public var maximumBatchCount: Int = 16_000

        /// Called between the steps, for tests that end the process there.
        package var atStep: @Sendable (Step) -> Void = { _ in }

        package enum Step: String, Sendable {
            /// The slot's earlier producers are fenced.
            case initialized
            /// All records of a batch are stored, and neither the number nor the commit is sent.
            case produced
            /// The transaction is committed.
            case committed
        }

        /// The safe settings for a cluster.
        public init(name: String, bootstrapServers: [String]) {
            self.init(name: name, producer: .init(bootstrapServers: bootstrapServers))
        }

        /// With the settings of another producer.
        public init(name: String, producer: KafkaProducer.Configuration) {
            self.name = name
            self.producer = producer
        }

        /// The transactional id, and the group that keeps the numbers. No two slots, destinations and names have the same one: behind the
        /// name come two parts without a hyphen.
        package func id(slot: Int, destination: String) -> String {
            var result = "\(name)-"
            for byte in destination.utf8 {
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"):
                    result.unicodeScalars.append(Unicode.Scalar(byte))
                default:
                    result += (byte < 16 ? "%0" : "%") + String(byte, radix: 16, uppercase: true)
                }
            }
            return result + "-\(slot)"
        }

        func transactions(id: String) -> KafkaTransactionalProducer.Configuration {
            var result = KafkaTransactionalProducer.Configuration(
                transactionalID: id,
                producer: producer
            )
            result.transactionTimeout = transactionTimeout
            result.operationTimeout = operationTimeout
            result.producer.idempotence = true
            result.producer.stampsIdempotencyKey = false
            return result
        }

        /// For asking a group without members what it has.
        func group(id: String, topic: String) -> KafkaConsumer.Configuration {
            var result = KafkaConsumer.Configuration(
                bootstrapServers: producer.bootstrapServers,
                partitions: [KafkaTopicPartition(topic: topic, partition: 0)],
                group: id
            )
            // The brokers answer only when the offsets of a transaction that is being committed are settled (KIP-447's
            // `require_stable`) where the consumer reads committed messages only; otherwise a number may be missing in the answer, and
            // its batch would be sent again.
            result.isolation = .readCommitted
            result.clientID = producer.clientID
            result.security = producer.security
            result.route = producer.route
            result.additionalProperties = producer.additionalProperties.ofConnections
            return result
        }
    }

    private let configuration: Configuration
    private let logger: Logger
    private let care = KafkaSlotCares()

    /// How many events a read has at most.
    public var maximumBatchCount: Int { max(configuration.maximumBatchCount, 1) }

    /// A destination. Connects to nothing yet.
    ///
    /// - Throws: ``KafkaDelivery/KafkaError`` of kind `invalidConfiguration`, naming the setting.
    public init(_ configuration: Configuration, logger: Logger = Logger(label: "OutboxKafka")) throws(KafkaError) {
        guard (1...200).contains(configuration.name.utf8.count) else {
            throw KafkaError(
                .invalidConfiguration,
                recovery: .fixRequest,
                reason: "name is \"\(configuration.name)\": it takes 1 to 200 bytes"
            )
        }
        self.configuration = configuration
        self.logger = logger
        // What is wrong with the settings shows here, and not when the first slot is taken over.
        let id = configuration.id(slot: 0, destination: "kafka")
        _ = try KafkaTransactionalProducer(configuration.transactions(id: id), logger: logger)
    }

    /// Of events that come without a note: that is not possible, and a publisher does not do it.
    public func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
        batch.map { _ in .unavailable(reason: "this destination takes batches from a publisher only") }
    }

    /// Initialises the slot's producer, and asks its group for the number of the last batch.
    public func takeOver(
        slot: Int,
        destination: String,
        last: OutboxInflight?
    ) async throws(OutboxError) -> any ExactlyOnceWriter {
        let id = configuration.id(slot: slot, destination: destination)
        var isInitialized = false
        do throws(KafkaError) {
            let producer = try KafkaTransactionalProducer(configuration.transactions(id: id), logger: logger)
            do throws(KafkaError) {
                // In this order: what is committed after the question would be missing in the answer.
                try await producer.initialize()
                isInitialized = true
                configuration.atStep(.initialized)
                let number = try await lastNumber(id, last)
                if let last, number != last.number { tell(last, number) }
                return KafkaSlotWriter(
                    producer,
                    group: id,
                    lastNumber: number,
                    timeout: configuration.transactionTimeout,
                    care: care,
                    atStep: configuration.atStep
                )
            } catch {
                await producer.close(within: .zero)
                throw error
            }
        } catch {
            // The brokers are there, and will not say anything about the topic in the note: that is about this slot only.
            let isOfSlot = isInitialized && error.recovery != .retry
            if isOfSlot { tell(slot, destination, last?.topic ?? "", error) }
            throw OutboxError(
                kind: .unavailable,
                persistence: .notPersisted,
                recovery: isOfSlot ? .fixRequest : .retry,
                reason: error.reason
            )
        }
    }

    /// What the group has at the note's topic; 0 where it is certain that it has not the note's number. A topic that cannot have that name
    /// holds none: the note has the name from a row that nothing has looked at yet.
    private func lastNumber(_ id: String, _ last: OutboxInflight?) async throws(KafkaError) -> Int64 {
        guard let last else { return 0 }
        // It was aborted here: nothing has to be asked, and what may not be described can be sent no more than it can be asked about.
        if care[id].notStored == last.number { return 0 }
        let place = KafkaTopicPartition(topic: last.topic, partition: 0)
        guard place.fault == nil else { return 0 }
        let consumer = try KafkaConsumer(configuration.group(id: id, topic: last.topic), logger: logger)
        do throws(KafkaError) {
            let committed = try await consumer.committed([place], within: configuration.operationTimeout)
            await consumer.close()
            return committed[place] ?? 0
        } catch {
            await consumer.close()
            throw error
        }
    }

    private func tell(_ slot: Int, _ destination: String, _ topic: String, _ error: KafkaError) {
        logger.warning(
            "outbox slot cannot be taken over, and its rows wait",
            metadata: [
                "slot": "\(slot)", "destination": "\(destination)", "topic": "\(topic)", "error": "\(error)",
            ]
        )
    }

    private func tell(_ last: OutboxInflight, _ number: Int64) {
        logger.info(
            "outbox batch was not stored, and is sent again",
            metadata: ["slot": "\(last.slot)", "batch": "\(last.number)", "stored": "\(number)"]
        )
    }
}
