import CRdKafka
import Foundation

/// Makes topics and rights on a real cluster, through librdkafka's admin API, which the mock cluster does not have.
struct ClusterAdministration: Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    let servers: [String]

    func createTopic(_ name: String, settings: [String: String] = [:]) async throws {
        try await call { client, queue, reason in
            guard let topic = rd_kafka_NewTopic_new(name, 1, 1, &reason, reason.count) else { return "no memory" }
            defer { rd_kafka_NewTopic_destroy(topic) }
            for (name, value) in settings { rd_kafka_NewTopic_set_config(topic, name, value) }
            var topics: [OpaquePointer?] = [topic]
            rd_kafka_CreateTopics(client, &topics, 1, nil, queue)
            guard let event = rd_kafka_queue_poll(queue, 30_000) else { return "no answer" }
            defer { rd_kafka_event_destroy(event) }
            var count = 0
            guard let result = rd_kafka_event_CreateTopics_result(event),
                let results = rd_kafka_CreateTopics_result_topics(result, &count), count == 1
            else { return "no answer" }
            let code = rd_kafka_topic_result_error(results[0])
            return code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : String(cString: rd_kafka_err2name(code))
        }
    }

    /// Allows every client of this machine some operations on a topic, and so no others.
    ///
    /// - Throws: ``Failure``, `SECURITY_DISABLED` where the brokers have no authorizer.
    func allow(_ operations: [rd_kafka_AclOperation_t], on topic: String) async throws {
        try await call { client, queue, reason in
            var bindings: [OpaquePointer?] = operations.map { operation in
                rd_kafka_AclBinding_new(
                    RD_KAFKA_RESOURCE_TOPIC,
                    topic,
                    RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    "User:ANONYMOUS",
                    "*",
                    operation,
                    RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                    &reason,
                    reason.count
                )
            }
            defer { for binding in bindings { rd_kafka_AclBinding_destroy(binding) } }
            rd_kafka_CreateAcls(client, &bindings, bindings.count, nil, queue)
            guard let event = rd_kafka_queue_poll(queue, 30_000) else { return "no answer" }
            defer { rd_kafka_event_destroy(event) }
            var count = 0
            guard let result = rd_kafka_event_CreateAcls_result(event),
                let results = rd_kafka_CreateAcls_result_acls(result, &count), count == operations.count
            else { return "no answer" }
            for index in 0..<count {
                if let error = rd_kafka_acl_result_error(results[index]), rd_kafka_error_code(error).rawValue != 0 {
                    return String(cString: rd_kafka_error_name(error))
                }
            }
            return nil
        }
    }

    /// Whether the brokers check rights.
    var hasAuthorizer: Bool {
        get async {
            let topic = "rights" + String(UInt64.random(in: .min ... .max), radix: 36)
            return (try? await allow([RD_KAFKA_ACL_OPERATION_DESCRIBE], on: topic)) != nil
        }
    }

    /// On a thread of its own: the calls block.
    private func call(
        _ body: @escaping @Sendable (OpaquePointer, OpaquePointer, inout [CChar]) -> String?
    ) async throws {
        let servers = servers.joined(separator: ",")
        let failure: String? = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var reason = [CChar](repeating: 0, count: 512)
                let configuration = rd_kafka_conf_new()
                rd_kafka_conf_set(configuration, "bootstrap.servers", servers, &reason, reason.count)
                guard let client = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, &reason, reason.count),
                    let queue = rd_kafka_queue_new(client)
                else { return continuation.resume(returning: "no client") }
                let failure = body(client, queue, &reason)
                rd_kafka_queue_destroy(queue)
                rd_kafka_destroy(client)
                continuation.resume(returning: failure)
            }
        }
        if let failure { throw Failure(description: failure) }
    }
}
