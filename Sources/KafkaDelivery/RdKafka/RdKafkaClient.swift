internal import CRdKafka
internal import Logging
internal import Synchronization

/// The owner of an `rd_kafka_t`.
///
/// Everything that librdkafka hands out (queues, messages, topics) must be given back before the client is destroyed,
/// or `rd_kafka_destroy` waits for ever. So what holds one of those also holds this object, and the client is
/// destroyed when the last of them lets go, on a thread of its own, because it blocks until librdkafka's threads ended.
final class RdKafkaClient: @unchecked Sendable {
    // Sendable because an rd_kafka_t may be used from any thread: librdkafka locks it. `deinit` runs once nothing holds it, and then
    // one thread destroys it.
    let raw: OpaquePointer
    /// When it is destroyed. Waited for by tasks that do not hold the client.
    let end = ClientEnd()
    let credentials: Credentials
    /// librdkafka has a pointer to it.
    private let callbacks: ClientCallbacks?
    let topics = RdKafkaTopics()
    /// Whether the group is being left. Held while another thread than the consumer's waits for librdkafka's main thread, see
    /// ``closeConsumer(eventsTo:)``.
    let isLeaving = Mutex(false)
    /// Whether the client subscribed and was not assigned anything, be it nothing, since.
    private let isJoining = Atomic(false)

    struct Credentials {
        let mechanism: String
        let userName: String
        let password: String
    }

    init(_ raw: OpaquePointer, credentials: Credentials, callbacks: ClientCallbacks? = nil) {
        self.raw = raw
        self.credentials = credentials
        self.callbacks = callbacks
        LiveClients.add()
        // From here on librdkafka's log lines are events on the main queue, where they go through queues at all.
        if callbacks?.groupLog == nil { rd_kafka_set_log_queue(raw, nil) }
    }

    deinit {
        // An OpaquePointer is not Sendable; its bits are.
        let address = UInt(bitPattern: raw)
        let flags = Quirks.current.destroyFlags(isJoining: isJoining.load(ordering: .relaxed))
        let topics = topics.all
        end.noteUnused()
        // librdkafka's threads use the callbacks until they have ended. Where nothing says when that is they are kept for ever.
        let callbacks = callbacks.map { Unmanaged.passRetained($0) }
        let destroy: @Sendable () -> Void = { [end] in
            for topic in topics { rd_kafka_topic_destroy(topic.raw) }
            rd_kafka_destroy_flags(OpaquePointer(bitPattern: address), flags)
            if !Quirks.endsAtOnce(flags) {
                callbacks?.release()
                LiveClients.remove()
            }
            end.note()
        }
        if !BlockingThread.start("kafka-destroy", destroy) {
            destroy()
        }
    }

    /// The client joins a group.
    func noteJoining() {
        isJoining.store(true, ordering: .relaxed)
    }

    /// The first assignment has come: there is something to destroy.
    func noteJoined() {
        isJoining.store(false, ordering: .relaxed)
    }

    /// Where this client's log lines are kept; nil where they are events.
    var groupLog: GroupLog? { callbacks?.groupLog }

    /// How often the brokers did not have what was asked for of a partition.
    func resets(of partition: KafkaTopicPartition) -> OffsetResets.Count {
        groupLog?.resets.count(of: partition) ?? OffsetResets.Count()
    }

    /// The name librdkafka gave this client, for log lines.
    var name: String {
        String(cString: rd_kafka_name(raw))
    }

    /// The error that this client cannot recover from, where there was one (`rd_kafka_fatal_error`).
    var fatalError: KafkaError? {
        var reason = [CChar](repeating: 0, count: 512)
        let code = rd_kafka_fatal_error(raw, &reason, reason.count)
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        let error = KafkaError(code, reason: String(nullTerminated: reason))
        return KafkaError(
            error.kind == .fenced ? .fenced : .fatal,
            recovery: .recreateClient,
            reason: error.reason,
            code: error.code
        )
    }

    /// Adds to an error what this client knows of it.
    func explain(_ error: KafkaError) -> KafkaError {
        if error.isOfCertificate, let fault = callbacks?.whatIsWrongWithTheCertificate {
            return KafkaError(
                error.kind,
                persistence: error.persistence,
                recovery: error.recovery,
                // librdkafka goes on with advice for one of the faults.
                reason: "\(error.reason.prefix(through: KafkaError.certificateText)): \(fault)",
                code: error.code
            )
        }
        return Quirks.current.explain(error, mechanism: credentials.mechanism)
    }
}
