internal import CRdKafka
internal import Synchronization

/// The C objects of a mock cluster and the calls into them. The only file of the module that imports librdkafka.
///
/// Nothing here checks its arguments: ``MockCluster`` does, and has to, because librdkafka's mock asserts on some
/// wrong ones and indexes memory with others.
final class MockBrokers: Sendable {
    enum CoordinatorKind: String {
        case group
        case transaction
    }

    /// The client that librdkafka wants a mock cluster to belong to. It connects to nothing.
    private struct Client: ~Copyable {
        let raw: OpaquePointer

        init() throws(MockCluster.Failure) {
            let configuration = rd_kafka_conf_new()
            // The mock logs through this client, to standard error unless told otherwise.
            rd_kafka_conf_set_log_cb(configuration, nil)
            var message = [CChar](repeating: 0, count: 512)
            guard let raw = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, &message, message.count) else {
                // Ours again: rd_kafka_new takes it over on success only.
                rd_kafka_conf_destroy(configuration)
                throw MockCluster.Failure(
                    reason: .librdkafka,
                    description: "librdkafka cannot start a mock cluster: \(MockBrokers.string(message))"
                )
            }
            self.raw = raw
        }

        deinit {
            rd_kafka_destroy(raw)
        }
    }

    /// The cluster and its client. The cluster uses the client until it is destroyed: `deinit` runs first, and
    /// then the members go.
    ///
    /// Unchecked: librdkafka's mock functions can be called from any thread. They pass a command to the mock's
    /// thread and wait for its answer, or take the mock's own lock.
    private struct Handle: ~Copyable, @unchecked Sendable {
        let client: Client
        let cluster: OpaquePointer

        init(count: Int) throws(MockCluster.Failure) {
            let client = try Client()
            guard let cluster = rd_kafka_mock_cluster_new(client.raw, Int32(count)) else {
                throw MockCluster.Failure(
                    reason: .librdkafka,
                    description: "librdkafka cannot open \(count) ports on loopback for a mock cluster."
                )
            }
            self.client = client
            self.cluster = cluster
            MockGroups.hasten(cluster)
        }

        deinit {
            rd_kafka_mock_cluster_destroy(cluster)
        }
    }

    private struct OwnList: Hashable {
        var broker: Int
        var kind: MockCluster.RequestKind
    }

    private struct State: ~Copyable {
        /// `nil` after the cluster was destroyed.
        var handle: Handle?
        /// Which brokers have an error list of their own, for which kinds. Such a broker never looks at the
        /// cluster's list again, not even when its own is empty.
        var ownLists: Set<OwnList> = []
        /// The ports of the brokers that are up.
        var openPorts: [UInt16]

        /// Not `handle?.cluster`: Swift 6.3.1 compiles that to the pointer that was there before where `handle` is
        /// `nil`, in debug builds (an optional of a noncopyable struct of pointers).
        var cluster: OpaquePointer? {
            switch handle {
            case .some(let handle): handle.cluster
            case .none: nil
            }
        }
    }

    /// Held during every call, so that the cluster is not destroyed under a call that is using it. The calls are short
    /// and nothing calls back.
    private let state: Mutex<State>

    let bootstrapServers: [String]
    private let ports: [UInt16]

    init(count: Int) throws(MockCluster.Failure) {
        let handle = try Handle(count: count)
        let servers = rd_kafka_mock_cluster_bootstraps(handle.cluster).map { String(cString: $0) } ?? ""
        self.bootstrapServers = servers.split(separator: ",").map(String.init)
        self.ports = bootstrapServers.compactMap { $0.split(separator: ":").last.flatMap { UInt16($0) } }
        self.state = Mutex(State(handle: handle, openPorts: ports))
    }

    /// Joins the mock's threads, so not on the cooperative pool. Does nothing the second time.
    func destroy() {
        let handle = state.withLock { state in
            if state.handle != nil {
                Self.wake(state)
            }
            return state.handle.take()
        }
        _ = consume handle
    }

    // MARK: Topics

    func createTopic(_ topic: String, partitions: Int, replicationFactor: Int) throws(MockCluster.Failure) {
        try call("creating the topic '\(topic)'") { cluster in
            rd_kafka_mock_topic_create(cluster, topic, Int32(partitions), Int32(replicationFactor))
        }
    }

    func setLeader(topic: String, partition: Int, broker: Int?) throws(MockCluster.Failure) {
        try call("moving the leader of '\(topic)' partition \(partition)") { cluster in
            rd_kafka_mock_partition_set_leader(cluster, topic, Int32(partition), Self.id(broker))
        }
    }

    func setError(code: Int, topic: String) throws(MockCluster.Failure) {
        try call("setting an error for the topic '\(topic)'") { cluster in
            rd_kafka_mock_topic_set_error(cluster, topic, rd_kafka_resp_err_t(Int32(code)))
            return RD_KAFKA_RESP_ERR_NO_ERROR
        }
    }

    // MARK: Errors

    func pushErrors(codes: [Int], kind: MockCluster.RequestKind) throws(MockCluster.Failure) {
        let errors = codes.map { rd_kafka_resp_err_t(Int32($0)) }
        try withState { state, cluster throws(MockCluster.Failure) in
            if let list = state.ownLists.first(where: { $0.kind == kind }) {
                throw .invalid(
                    "Name a broker when injecting into \(kind): broker \(list.broker) was given errors of its own for "
                        + "it, and no longer looks at those for the whole cluster."
                )
            }
            rd_kafka_mock_push_request_errors_array(cluster, kind.apiKey, errors.count, errors)
        }
    }

    func pushErrors(
        codes: [Int],
        kind: MockCluster.RequestKind,
        broker: Int,
        milliseconds: Int32
    ) throws(MockCluster.Failure) {
        try withState { state, cluster throws(MockCluster.Failure) in
            for code in codes {
                state.ownLists.insert(OwnList(broker: broker, kind: kind))
                try Self.check(
                    kafka_delivery_mock_push_error(
                        cluster,
                        Int32(broker),
                        kind.apiKey,
                        rd_kafka_resp_err_t(Int32(code)),
                        milliseconds
                    ),
                    "injecting an error into broker \(broker)"
                )
            }
        }
    }

    func clearErrors(kind: MockCluster.RequestKind) throws(MockCluster.Failure) {
        try call("clearing errors") { cluster in
            rd_kafka_mock_clear_request_errors(cluster, kind.apiKey)
            return RD_KAFKA_RESP_ERR_NO_ERROR
        }
    }

    func pendingErrors(kind: MockCluster.RequestKind, broker: Int) throws(MockCluster.Failure) -> Int {
        // librdkafka leaves it as it is where there never was an error.
        var count = 0
        try call("counting the errors of broker \(broker)") { cluster in
            rd_kafka_mock_broker_error_stack_cnt(cluster, Int32(broker), kind.apiKey, &count)
        }
        return count
    }

    // MARK: Brokers and coordinators

    func setRoundTripTime(milliseconds: Int32, broker: Int?) throws(MockCluster.Failure) {
        try call("setting the round-trip time") { cluster in
            rd_kafka_mock_broker_set_rtt(cluster, Self.id(broker), milliseconds)
        }
    }

    func setUp(_ isUp: Bool, broker: Int?) throws(MockCluster.Failure) {
        let ports = broker.map { [self.ports[$0 - 1]] } ?? self.ports
        try withState { state, cluster throws(MockCluster.Failure) in
            Self.wake(state)
            if isUp {
                try Self.check(rd_kafka_mock_broker_set_up(cluster, Self.id(broker)), "bringing a broker up")
                state.openPorts += ports.filter { !state.openPorts.contains($0) }
            } else {
                state.openPorts.removeAll { ports.contains($0) }
                // Binds the port anew at once, for when the broker comes back.
                let id = Self.id(broker)
                let code = ChildProcess.starting.withLock { _ in rd_kafka_mock_broker_set_down(cluster, id) }
                try Self.check(code, "taking a broker down")
            }
        }
    }

    func setCoordinator(_ kind: CoordinatorKind, name: String, broker: Int) throws(MockCluster.Failure) {
        try call("moving the coordinator of the \(kind.rawValue) '\(name)'") { cluster in
            rd_kafka_mock_coordinator_set(cluster, kind.rawValue, name, Int32(broker))
        }
    }

    static func name(ofError code: Int) -> String {
        String(cString: rd_kafka_err2name(rd_kafka_resp_err_t(Int32(code))))
    }

    // MARK: Calling

    private func call(
        _ what: String,
        _ body: (OpaquePointer) -> rd_kafka_resp_err_t
    ) throws(MockCluster.Failure) {
        try withState { state, cluster throws(MockCluster.Failure) in
            Self.wake(state)
            try Self.check(body(cluster), what)
        }
    }

    /// Makes sure that the mock's thread sees the command that comes next.
    ///
    /// librdkafka's thread answers a command and then empties its wake-up pipe, and with it throws away the byte that
    /// the next command may have put there meanwhile. That command then waits until the thread wakes by itself, up to
    /// a second later, which happens to commands in quick succession. A connection that is opened after the last
    /// answer and before the next command is not thrown away: the thread wakes once more and finds the command. Where
    /// all brokers are down there is nothing to connect to, and the second may pass.
    private static func wake(_ state: borrowing State) {
        if let port = state.openPorts.first {
            knockOnLoopback(port: port)
        }
    }

    private func withState(
        _ body: (inout State, OpaquePointer) throws(MockCluster.Failure) -> Void
    ) throws(MockCluster.Failure) {
        try state.withLock { state throws(MockCluster.Failure) in
            guard let cluster = state.cluster else {
                throw MockCluster.Failure(
                    reason: .shutDown,
                    description: "Use the mock cluster before it is shut down: it was."
                )
            }
            try body(&state, cluster)
        }
    }

    private static func check(_ code: rd_kafka_resp_err_t, _ what: String) throws(MockCluster.Failure) {
        let reason: MockCluster.Failure.Reason
        switch code {
        case RD_KAFKA_RESP_ERR_NO_ERROR: return
        case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: reason = .topicExists
        case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART: reason = .unknownPartition
        default: reason = .librdkafka
        }
        throw MockCluster.Failure(
            reason: reason,
            description: "\(String(cString: rd_kafka_err2str(code))), when \(what) "
                + "(\(String(cString: rd_kafka_err2name(code))))"
        )
    }

    /// librdkafka's mock takes -1 as every broker, or as none, according to the function.
    private static func id(_ broker: Int?) -> Int32 {
        broker.map { Int32($0) } ?? -1
    }

    private static func string(_ characters: [CChar]) -> String {
        let bytes = characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
