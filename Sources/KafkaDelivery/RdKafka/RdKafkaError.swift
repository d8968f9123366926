internal import CRdKafka

/// librdkafka's error codes, translated once, at the boundary.
extension KafkaError {
    /// The error of a call or of a report.
    ///
    /// - Parameters:
    ///   - code: Not `RD_KAFKA_RESP_ERR_NO_ERROR`.
    ///   - reason: More than the code says, where librdkafka gives it.
    ///   - persistence: For errors about a message.
    init(_ code: rd_kafka_resp_err_t, reason: String? = nil, persistence: Persistence? = nil) {
        let (kind, recovery) = Self.classify(code)
        self.init(
            kind,
            persistence: persistence,
            recovery: recovery,
            reason: reason ?? code.text,
            code: code.name
        )
    }

    // The `switch` names codes once; what it does not name is told apart by sign (librdkafka's own are negative) and by
    // whether Kafka's protocol calls the code retriable.
    private static func classify(_ code: rd_kafka_resp_err_t) -> (Kind, Recovery) {
        switch code {
        case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
            (.timedOut, .retry)
        case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__RESOLVE:
            (.brokersUnreachable, .retry)
        case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
            (.unknownTopicOrPartition, .fixRequest)
        case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
            RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
            (.messageTooLarge, .fixRequest)
        case RD_KAFKA_RESP_ERR__INVALID_ARG, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, RD_KAFKA_RESP_ERR_INVALID_REQUEST,
            RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
            (.invalidArgument, .fixRequest)
        case RD_KAFKA_RESP_ERR__DESTROY, RD_KAFKA_RESP_ERR__PURGE_QUEUE, RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
            (.closed, .recreateClient)
        case RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE, RD_KAFKA_RESP_ERR__SSL:
            (.authentication, .fixRequest)
        case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            (.authorization, .fixRequest)
        case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST, .fencedMemberEpoch,
            .staleMemberEpoch:
            (.assignmentEnded, .retry)
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
            (.offsetOutOfRange, .fixRequest)
        case RD_KAFKA_RESP_ERR__FENCED, RD_KAFKA_RESP_ERR_PRODUCER_FENCED, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
            (.fenced, .recreateClient)
        case RD_KAFKA_RESP_ERR__FATAL, RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE,
            RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
            (.fatal, .recreateClient)
        case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED, RD_KAFKA_RESP_ERR__CONFLICT,
            RD_KAFKA_RESP_ERR__INVALID_TYPE, RD_KAFKA_RESP_ERR__STATE, RD_KAFKA_RESP_ERR__READ_ONLY:
            (.client, .fixRequest)
        case .invalidDifferentRecord:
            (.batchRefused, .retry)
        case RD_KAFKA_RESP_ERR_UNKNOWN:
            // -1 is the broker's, librdkafka's own begin at -100.
            (.broker, .retry)
        default:
            if code.rawValue < 0 {
                (.client, .retry)
            } else {
                (.broker, code.isRetriable ? .retry : .fixRequest)
            }
        }
    }
}

extension KafkaError {
    /// Whether the broker does not keep so long a text beside an offset.
    var isMetadataTooLarge: Bool {
        code == RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE.name
    }

    /// Whether librdkafka knows no such topic or partition, which need not mean that the brokers do not.
    var isLocallyUnknown: Bool {
        code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION.name || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC.name
    }

    /// Whether librdkafka could not do it in the state that it was in.
    var isState: Bool {
        code == RD_KAFKA_RESP_ERR__STATE.name
    }

    /// Whether it says of all brokers together that none can be reached, and of none why.
    var isOfAllBrokers: Bool {
        code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN.name
    }

    /// Why a group's coordinator will not let in a member like this one, however often it asks.
    enum JoinRefusal {
        case inconsistentProtocol
        case invalidSessionTimeout
        case invalidGroup
        case isFull
    }

    /// Whether it is such a refusal. Java's consumer throws these out of `poll` too.
    var joinRefusal: JoinRefusal? {
        switch code {
        case RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL.name: .inconsistentProtocol
        case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT.name: .invalidSessionTimeout
        case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID.name: .invalidGroup
        case RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED.name: .isFull
        default: nil
        }
    }

    /// Whether the coordinator answers nothing until the group has rebalanced.
    var isRebalanceInProgress: Bool {
        code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS.name
    }
}

extension rd_kafka_resp_err_t {
    // What the headers of 2.0.2 do not have: a member of a group of the consumer protocol (KIP-848) was put out of it, or says
    // something of its assignment before the last.
    static let fencedMemberEpoch = Self(rawValue: 110)
    static let staleMemberEpoch = Self(rawValue: 113)

    /// librdkafka's name, such as `_MSG_TIMED_OUT`.
    var name: String {
        String(cString: rd_kafka_err2name(self))
    }

    /// librdkafka's sentence.
    var text: String {
        String(cString: rd_kafka_err2str(self))
    }

    /// What Kafka's protocol calls retriable: the same request may succeed later.
    var isRetriable: Bool {
        switch self {
        case RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE,
            RD_KAFKA_RESP_ERR__WAIT_COORD, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__WAIT_CACHE,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS,
            RD_KAFKA_RESP_ERR_INVALID_MSG, RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
            RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH, RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
            true
        default:
            false
        }
    }
}
