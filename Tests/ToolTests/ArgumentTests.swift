import ArgumentParser
import KafkaDelivery
import Testing

@testable import kafka_delivery

@Suite struct ArgumentTests {
    @Test(
        arguments: [
            ["t", "--key", "k", "--json-key", "id"], ["t", "--key-separator", ""], ["t", "--key-separator", #"\q"#],
            ["t", "--json-key", "a..b"], ["t", "--partition", "-1"], ["t", "--partition", "3000000000"],
            ["t", "--linger", "nan"], ["t", "--linger", "inf"], ["t", "--timeout", "0"], ["t", "--timeout", "1e300"],
            ["t", "--linger", "2000", "--timeout", "1"], ["t", "-", "-"], ["t", "--whole", "--failed", "f"], [""], [],
            ["t", "-X", "nonsense"], ["t", "-X", "=1"],
        ]
    )
    func aSendThatCannotBeMeantIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try SendCommand.parse(arguments) }
    }

    @Test(
        arguments: [
            ["t"], ["t", "--group", ""], ["--group", "g"], ["t", "--group", "g", "--count", "0"],
            ["t", "--group", "g", "--from", "-1"], ["t", "--group", "g", "--from", "yesterday"],
            ["t", "--group", "g", "--format", "%q"], ["", "--group", "g"],
        ]
    )
    func aReceiveThatCannotBeMeantIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try ReceiveCommand.parse(arguments) }
    }

    @Test func aStartIsAWordAnOffsetOrATime() throws {
        typealias Start = ReceiveCommand.Start
        #expect(Start(argument: "beginning")?.value == .beginning)
        #expect(Start(argument: "end")?.value == .end)
        #expect(Start(argument: "committed")?.value == .committed)
        #expect(Start(argument: "17")?.value == .offset(17))
        #expect(Start(argument: "1970-01-02")?.value == .timestamp(KafkaTimestamp(millisecondsSince1970: 86_400_000)))
    }

    @Test func aTopicOfTheBrokerMayNameItsPartitions() {
        typealias Topic = BrokerCommand.Topic
        #expect(Topic(argument: "a")?.partitions == 1)
        #expect(Topic(argument: "a:6")?.partitions == 6)
        #expect(Topic(argument: "a:6")?.name == "a")
        for wrong in ["", ":3", "a:", "a:x", "a:1:2"] { #expect(Topic(argument: wrong) == nil) }
    }

    @Test func theOptionComesBeforeTheEnvironment() throws {
        let named = try ClusterOptions.parse(["-b", "a:1, b:2"])
        #expect(try named.servers(environment: "c:3") == ["a:1", "b:2"])
        let unnamed = try ClusterOptions.parse([])
        #expect(try unnamed.servers(environment: "c:3") == ["c:3"])
        #expect(throws: ToolFailure.self) { try unnamed.servers(environment: nil) }
        #expect(throws: ToolFailure.self) { try unnamed.servers(environment: "") }
        #expect(throws: ToolFailure.self) { try unnamed.servers(environment: "a:1,") }
    }

    @Test func propertiesWithASettingOfTheirOwnBecomeThatSetting() throws {
        let send = try SendCommand.parse(
            [
                "t", "-b", "a:1", "--no-idempotence", "--linger", "2.5", "--timeout", "1.5", "-X", "acks=1",
                "-X", "compression.type=zstd", "-X", "client.id=me", "-X", "socket.keepalive.enable=true",
            ]
        )
        let configuration = try send.producerConfiguration()
        #expect(configuration.acknowledgements == .leader)
        #expect(configuration.compression == .zstd)
        #expect(configuration.clientID == "me")
        #expect(configuration.linger == .microseconds(2500))
        #expect(configuration.messageTimeout == .milliseconds(1500))
        #expect(!configuration.idempotence)
        #expect(configuration.additionalProperties == ["socket.keepalive.enable": "true"])
    }

    @Test(
        arguments: [
            "acks=1", "acks=2", "compression.type=best", "linger.ms=1", "message.timeout.ms=1",
            "enable.idempotence=false",
            "bootstrap.servers=b:1", "message.max.bytes=many",
        ]
    )
    func propertiesThatContradictAnOptionAreRefused(property: String) throws {
        let send = try SendCommand.parse(["t", "-b", "a:1", "-X", property])
        #expect(throws: ToolFailure.self) { try send.producerConfiguration() }
    }

    @Test func aPropertyThatIsTooLargeIsLeftToTheLibrary() throws {
        let send = try SendCommand.parse(["t", "-b", "a:1", "-X", "queue.buffering.max.kbytes=9223372036854775807"])
        #expect(try send.producerConfiguration().maximumBufferedBytes == .max)
        let receive = try ReceiveCommand.parse(["t", "-b", "a:1", "-g", "g", "-X", "queued.max.messages.kbytes=1e9"])
        #expect(throws: ToolFailure.self) { try receive.consumerConfiguration() }
    }
}
