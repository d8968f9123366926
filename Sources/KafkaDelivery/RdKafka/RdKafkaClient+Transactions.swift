internal import CRdKafka
internal import Synchronization

/// Transactions, at the boundary to librdkafka. All of these calls block, for as long as they are told or, where
/// librdkafka does not keep to that, for longer: they belong on a thread of their own (``BlockingCall``).
extension RdKafkaClient {
    /// A transactional call that failed, and what librdkafka says is to be done about it.
    struct TransactionFailure: Error {
        enum Remedy {
            /// The same call again: it resumes where it was (`rd_kafka_error_is_retriable`).
            case repeatCall
            /// Abort the transaction (`rd_kafka_error_txn_requires_abort`).
            case abort
            /// Nothing: the client cannot go on (`rd_kafka_error_is_fatal`).
            case recreate
            /// Librdkafka does not say; the call was not possible at this moment.
            case none
        }

        let error: KafkaError
        let remedy: Remedy
    }

    /// Asks the coordinator for this producer's identity, which ends whatever an earlier one with the same transactional id
    /// left open, and fences it off.
    func initTransactions(within timeout: Duration) -> TransactionFailure? {
        Self.failure(rd_kafka_init_transactions(raw, timeout.milliseconds))
    }

    func beginTransaction() -> TransactionFailure? {
        Self.failure(rd_kafka_begin_transaction(raw))
    }

    /// Puts a group's offsets into the transaction.
    func sendOffsets(
        _ offsets: [PartitionOffset],
        of group: borrowing GroupMetadata,
        within timeout: Duration
    ) -> TransactionFailure? {
        offsets.withList { list in
            Self.failure(rd_kafka_send_offsets_to_transaction(raw, list, group.raw, timeout.milliseconds))
        } ?? TransactionFailure(error: .noMemory, remedy: .abort)
    }

    func commitTransaction(within timeout: Duration) -> TransactionFailure? {
        Self.failure(rd_kafka_commit_transaction(raw, timeout.milliseconds))
    }

    func abortTransaction(within timeout: Duration) -> TransactionFailure? {
        Self.failure(rd_kafka_abort_transaction(raw, timeout.milliseconds))
    }

    private static func failure(_ error: OpaquePointer?) -> TransactionFailure? {
        guard let error else { return nil }
        defer { rd_kafka_error_destroy(error) }
        let remedy: TransactionFailure.Remedy =
            if rd_kafka_error_is_fatal(error) != 0 {
                .recreate
            } else if rd_kafka_error_txn_requires_abort(error) != 0 {
                .abort
            } else if rd_kafka_error_is_retriable(error) != 0 {
                .repeatCall
            } else {
                .none
            }
        return TransactionFailure(
            error: KafkaError(rd_kafka_error_code(error), reason: String(cString: rd_kafka_error_string(error))),
            remedy: remedy
        )
    }
}

/// Which member of which generation of a group sends offsets into a transaction (KIP-447).
struct GroupMetadata: ~Copyable {
    private let handle: OwnedHandle

    private init(_ handle: consuming OwnedHandle) {
        self.handle = handle
    }

    /// The metadata of a consumer at this moment. Blocks until librdkafka's thread answers.
    ///
    /// - Parameter joinsGroup: Whether it has to be a member.
    /// - Returns: Nil where it has to be a member of its group and is none. A coordinator takes offsets from a sender that
    ///   says that he is none without asking further, so nothing may be sent then. Nil too where the group is being left.
    static func current(of client: RdKafkaClient, joinsGroup: Bool) -> GroupMetadata? {
        // The address: an OpaquePointer is not Sendable, and so may not leave the lock.
        let address: UInt? = client.isLeaving.withLock { isLeaving in
            isLeaving ? nil : rd_kafka_consumer_group_metadata(client.raw).map { UInt(bitPattern: $0) }
        }
        guard let raw = address.flatMap({ OpaquePointer(bitPattern: $0) }) else { return nil }
        let handle = OwnedHandle(raw, destroy: rd_kafka_consumer_group_metadata_destroy)
        guard !joinsGroup || GroupGeneration.of(raw) >= 0 else { return nil }
        return GroupMetadata(handle)
    }

    /// The metadata of a group that has no members: its offsets are anyone's to set, and so whoever sets them sees to it by other
    /// means that it may. A group with members refuses such a sender.
    static func withoutMembers(_ group: String) -> GroupMetadata? {
        rd_kafka_consumer_group_metadata_new(group).map {
            GroupMetadata(OwnedHandle($0, destroy: rd_kafka_consumer_group_metadata_destroy))
        }
    }

    var raw: OpaquePointer { handle.raw }
}
