import Testing

@testable import KafkaDelivery

/// Which settings go with which group protocol, and which librdkafka has it.
struct GroupProtocolTests {
    private static let new = LibrdkafkaVersion(2, 12, 0)

    private func refusal(
        on version: LibrdkafkaVersion = Self.new,
        _ change: (inout KafkaConsumer.Configuration) -> Void
    ) -> KafkaError? {
        var configuration = KafkaConsumer.Configuration(bootstrapServers: ["localhost:9092"], group: "g", topics: ["t"])
        configuration.groupProtocol = .consumer
        change(&configuration)
        do throws(KafkaError) {
            try configuration.validateGroupProtocol(on: version)
            return nil
        } catch {
            #expect(error.kind == .invalidConfiguration)
            return error
        }
    }

    @Test func theConsumerProtocolIsTakenByItselfAndWithARemoteAssignor() {
        #expect(refusal { _ in } == nil)
        #expect(refusal { $0.remoteAssignor = "uniform" } == nil)
        #expect(refusal { $0.additionalProperties["max.poll.interval.ms"] = "60000" } == nil)
    }

    @Test func aLibrdkafkaThatDoesNotSpeakItIsNamedWithTheOneThatDoes() {
        let reason = refusal(on: LibrdkafkaVersion(2, 8, 0)) { _ in }?.reason
        #expect(reason == "groupProtocol is consumer, which needs librdkafka 2.12.0 or newer: this is 2.8.0")
        #expect(refusal(on: LibrdkafkaVersion(2, 0, 2)) { $0.groupProtocol = .classic } == nil)
    }

    @Test func whatTheBrokersDecideIsRefusedWithAReason() {
        let name = "group.protocol.type"
        let error = refusal { $0.additionalProperties[name] = "6000" }
        #expect(error?.reason.hasPrefix("\(name) is set, and with groupProtocol consumer ") == true)
        #expect(refusal { ($0.groupProtocol, $0.additionalProperties[name]) = (.classic, "6000") } == nil)
    }

    @Test func sessionTimeoutAndHeartbeatIntervalAreTheBrokersToDecide() {
        let session = refusal { $0.sessionTimeout = .seconds(6) }?.reason
        #expect(session?.contains("group.consumer.session.timeout.ms") == true)
        let heartbeat = refusal { $0.heartbeatInterval = .seconds(1) }?.reason
        #expect(heartbeat?.contains("group.consumer.heartbeat.interval.ms") == true)
        #expect(refusal { ($0.groupProtocol, $0.sessionTimeout) = (.classic, .seconds(6)) } == nil)
    }

    @Test func ourOwnSettingsThatContradictItAreRefused() {
        #expect(refusal { $0.assignmentStrategies = [.range] }?.reason.contains("use remoteAssignor") == true)
        #expect(refusal { $0.remoteAssignor = "" }?.reason == "remoteAssignor is empty")
        let alone = refusal { configuration in
            configuration.topics = []
            configuration.partitions = [KafkaTopicPartition(topic: "t", partition: 0)]
        }
        #expect(alone?.reason.contains("joins no group") == true)
        let classic = refusal { ($0.groupProtocol, $0.remoteAssignor) = (.classic, "uniform") }
        #expect(classic?.reason.contains("it needs groupProtocol to be consumer") == true)
    }

    @Test func itIsSetByItsTypedSettingOnly() {
        var configuration = KafkaConsumer.Configuration(bootstrapServers: ["localhost:9092"], group: "g", topics: ["t"])
        configuration.additionalProperties["group.protocol"] = "consumer"
        let error = #expect(throws: KafkaError.self) { try KafkaConsumer(configuration) }
        #expect(error?.reason == "group.protocol cannot be among additionalProperties: use `groupProtocol`")
    }
}
