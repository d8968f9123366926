import CRdKafka
import Foundation

/// Makes topics on a real cluster, through librdkafka's admin API, which the mock cluster does not have.
struct TopicAdministration {
    private let bootstrapServers: [String]

    init(_ bootstrapServers: [String]) {
        self.bootstrapServers = bootstrapServers
    }

    /// - Parameter configuration: The topic's own settings, by Kafka's names.
    func create(_ topic: String, partitions: Int, configuration: [String: String] = [:]) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread {
                continuation.resume(with: Result { try createBlocking(topic, partitions, configuration) })
            }
        }
    }

    /// Deletes a topic, with all that it holds.
    func delete(_ topic: String) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread {
                continuation.resume(with: Result { try deleteBlocking(topic) })
            }
        }
    }

    private func deleteBlocking(_ topic: String) throws {
        let client = try RawClient(
            RD_KAFKA_PRODUCER,
            ["bootstrap.servers": bootstrapServers.joined(separator: ",")]
        )
        guard let queue = rd_kafka_queue_new(client.raw), let entry = rd_kafka_DeleteTopic_new(topic) else {
            throw TestFailure("no memory to delete \(topic)")
        }
        defer {
            rd_kafka_DeleteTopic_destroy(entry)
            rd_kafka_queue_destroy(queue)
        }
        var topics: [OpaquePointer?] = [entry]
        rd_kafka_DeleteTopics(client.raw, &topics, 1, nil, queue)
        guard let event = rd_kafka_queue_poll(queue, 30_000) else { throw TestFailure("deleting \(topic) timed out") }
        defer { rd_kafka_event_destroy(event) }
        var count = 0
        guard let result = rd_kafka_event_DeleteTopics_result(event),
            let results = rd_kafka_DeleteTopics_result_topics(result, &count), count == 1,
            rd_kafka_topic_result_error(results[0]) == RD_KAFKA_RESP_ERR_NO_ERROR
        else { throw TestFailure("the cluster did not delete \(topic)") }
    }

    /// Adds partitions to a topic, which has so many then.
    func addPartitions(to topic: String, upTo count: Int) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            Thread.detachNewThread {
                continuation.resume(with: Result { try addBlocking(topic, count) })
            }
        }
    }

    private func addBlocking(_ topic: String, _ count: Int) throws {
        let client = try RawClient(
            RD_KAFKA_PRODUCER,
            ["bootstrap.servers": bootstrapServers.joined(separator: ",")]
        )
        var reason = [CChar](repeating: 0, count: 512)
        guard let queue = rd_kafka_queue_new(client.raw),
            let entry = rd_kafka_NewPartitions_new(topic, count, &reason, reason.count)
        else { throw TestFailure("no memory to add partitions to \(topic)") }
        defer {
            rd_kafka_NewPartitions_destroy(entry)
            rd_kafka_queue_destroy(queue)
        }
        var entries: [OpaquePointer?] = [entry]
        rd_kafka_CreatePartitions(client.raw, &entries, 1, nil, queue)
        guard let event = rd_kafka_queue_poll(queue, 30_000) else { throw TestFailure("\(topic) got no partitions") }
        defer { rd_kafka_event_destroy(event) }
        var resultCount = 0
        guard let result = rd_kafka_event_CreatePartitions_result(event),
            let results = rd_kafka_CreatePartitions_result_topics(result, &resultCount), resultCount == 1,
            rd_kafka_topic_result_error(results[0]) == RD_KAFKA_RESP_ERR_NO_ERROR
        else { throw TestFailure("the cluster did not add partitions to \(topic)") }
    }

    private func createBlocking(_ topic: String, _ partitions: Int, _ settings: [String: String]) throws {
        var reason = [CChar](repeating: 0, count: 512)
        let configuration = rd_kafka_conf_new()
        rd_kafka_conf_set(
            configuration,
            "bootstrap.servers",
            bootstrapServers.joined(separator: ","),
            &reason,
            reason.count
        )
        guard let client = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, &reason, reason.count) else {
            throw TestFailure("no client to make topics with")
        }
        defer { rd_kafka_destroy(client) }
        guard let queue = rd_kafka_queue_new(client),
            let newTopic = rd_kafka_NewTopic_new(topic, Int32(partitions), 1, &reason, reason.count)
        else { throw TestFailure("no topic \(topic) can be made") }
        defer {
            rd_kafka_NewTopic_destroy(newTopic)
            rd_kafka_queue_destroy(queue)
        }
        for (name, value) in settings { rd_kafka_NewTopic_set_config(newTopic, name, value) }
        var topics: [OpaquePointer?] = [newTopic]
        rd_kafka_CreateTopics(client, &topics, 1, nil, queue)
        guard let event = rd_kafka_queue_poll(queue, 60_000) else { throw TestFailure("making \(topic) timed out") }
        defer { rd_kafka_event_destroy(event) }
        var count = 0
        guard let result = rd_kafka_event_CreateTopics_result(event),
            let results = rd_kafka_CreateTopics_result_topics(result, &count), count == 1,
            rd_kafka_topic_result_error(results[0]) == RD_KAFKA_RESP_ERR_NO_ERROR
        else { throw TestFailure("the cluster did not make \(topic)") }
        try waitForLeaders(of: topic, partitions: partitions, client)
    }

    /// The controller says that a topic is made before every broker knows of it, and a consumer that subscribes to it earlier
    /// does without it for minutes.
    private func waitForLeaders(of topic: String, partitions: Int, _ client: OpaquePointer) throws {
        guard let handle = rd_kafka_topic_new(client, topic, nil) else { throw TestFailure("no handle of \(topic)") }
        defer { rd_kafka_topic_destroy(handle) }
        let deadline = ContinuousClock.now.advanced(by: .seconds(60))
        while ContinuousClock.now < deadline {
            var metadata: UnsafePointer<rd_kafka_metadata>?
            if rd_kafka_metadata(client, 0, handle, &metadata, 10_000) == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata {
                defer { rd_kafka_metadata_destroy(metadata) }
                if let found = metadata.pointee.topics?[0], found.err == RD_KAFKA_RESP_ERR_NO_ERROR,
                    found.partition_cnt == partitions,
                    (0..<partitions).allSatisfy({ (found.partitions?[$0].leader ?? -1) >= 0 })
                {
                    return try waitForAnswers(of: topic, partitions: partitions, client, until: deadline)
                }
            }
            Thread.sleep(forTimeInterval: 0.01)
        }
        throw TestFailure("\(topic) has no leaders")
    }

    /// A broker is said to lead a partition before it does. In that moment it refuses a producer's first request, and may take the
    /// second: what was in the first is not stored then, see `UnconfirmedMessageTests`.
    private func waitForAnswers(
        of topic: String,
        partitions: Int,
        _ client: OpaquePointer,
        until deadline: ContinuousClock.Instant
    ) throws {
        guard let list = rd_kafka_topic_partition_list_new(Int32(partitions)) else { throw TestFailure("no memory") }
        defer { rd_kafka_topic_partition_list_destroy(list) }
        for partition in 0..<Int32(partitions) { rd_kafka_topic_partition_list_add(list, topic, partition) }
        var codes: [rd_kafka_resp_err_t] = []
        repeat {
            for index in 0..<partitions { list.pointee.elems[index].offset = Int64(RD_KAFKA_OFFSET_BEGINNING) }
            codes = [rd_kafka_offsets_for_times(client, list, 10_000)]
            codes += (0..<partitions).map { list.pointee.elems[$0].err }
            if codes.allSatisfy({ $0 == RD_KAFKA_RESP_ERR_NO_ERROR }) { return }
            Thread.sleep(forTimeInterval: 0.01)
        } while ContinuousClock.now < deadline
        throw TestFailure("\(topic) is led by a broker that does not answer for it: \(codes)")
    }
}
