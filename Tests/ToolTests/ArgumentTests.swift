import ArgumentParser
import KafkaDelivery
import Logging
import Testing
import ToolSupport

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
            ["t", "--group", "g", "--from", "-x"], ["t", "--group", "g", "--from", "yesterday"],
            ["t", "--group", "g", "--from", "--until-end"], ["t", "--group", "--until-end"],
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
        #expect(Start(argument: "-3")?.value == .last(3))
        #expect(Start(argument: "-0")?.value == .last(0))
        for wrong in ["-", "--3", "-9223372036854775808", "9223372036854775808"] {
            #expect(Start(argument: wrong) == nil)
        }
        #expect(Start(argument: "1970-01-02")?.value == .timestamp(KafkaTimestamp(millisecondsSince1970: 86_400_000)))
    }

    @Test func aValueMayBeginWithADash() throws {
        let receive = try ReceiveCommand.parse(["t", "-g", "g", "--from", "-10", "--format", "-%s\\n", "--until-end"])
        #expect(receive.from.value == .last(10))
        #expect(receive.format == "-%s\\n")
        #expect(receive.untilEnd)
        let send = try SendCommand.parse(["t", "--key", "-5", "--header", "-a=-1", "-H", "-b"])
        #expect(send.key == "-5")
        #expect(send.header == ["-a=-1", "-b"])
        #expect(try SendCommand.parse(["t", "--key-separator", "-"]).keySeparator == "-")
        #expect(try SendCommand.parse(["t", "--json-key", "-id"]).jsonKey == "-id")
        #expect(try RedriveCommand.parse(["t", "--error", "-1"]).error == "-1")
    }

    @Test(
        arguments: [
            (["--count", "-5"], "--count -5: 1 or more"), (["--count", "0"], "--count 0: 1 or more"),
            (["--from", "-x"], "'-x' is invalid for '--from"),
        ]
    )
    func aNumberThatIsTooSmallIsNamed(arguments: [String], complaint: String) {
        let error = #expect(throws: (any Error).self) { try ReceiveCommand.parse(["t", "-g", "g"] + arguments) }
        #expect(error.map { ReceiveCommand.message(for: $0).contains(complaint) } == true)
    }

    /// What is a name is more often forgotten than begun with a dash.
    @Test func whereAValueIsTakenForAnOptionTheComplaintSaysHowToGiveIt() {
        let error = #expect(throws: (any Error).self) { try ReceiveCommand.parse(["t", "--group", "-5"]) }
        let complaint = error.map { withHintAtDashes(ReceiveCommand.fullMessage(for: $0)) } ?? ""
        #expect(complaint.contains("--group=-5)\n"))
        #expect(withHintAtDashes("Unknown option '-q'") == "Unknown option '-q'")
        #expect((try? ReceiveCommand.parse(["t", "--group=-5"]))?.group == "-5")
    }

    @Test func debuggingLinesAreShownToWhoAsksForThem() throws {
        func level(_ arguments: String...) throws -> Logger.Level? {
            let options = try ClientOptions.parse(arguments)
            return options.writesLog ? options.logger.logLevel : nil
        }
        #expect(try level() == nil)
        #expect(try level("-X", "client.id=a") == nil)
        #expect(try level("--verbose") == .debug)
        // librdkafka's debugging lines are trace lines of the library's logger.
        #expect(try level("-v", "-X", "debug=msg") == .trace)
        #expect(try level("-X", "debug=cgrp,topic") == .trace)
    }

    @Test func theVersionNamesTheToolAndLibrdkafka() throws {
        let version = KafkaDeliveryTool.configuration.version
        let error = #expect(throws: (any Error).self) { try KafkaDeliveryTool.parseAsRoot(["--version"]) }
        #expect(error.map { KafkaDeliveryTool.fullMessage(for: $0) } == version)
        #expect(version.contains(#/^kafka-delivery \d+\.\d+\.\d+\S* \(librdkafka \d+\.\d+\.\d+\)$/#))
    }

    /// A broker that restarts takes longer than the least that brokers allow, and what is lost then is delivered again.
    @Test func theSessionSurvivesABrokersRestart() throws {
        let receive = try ReceiveCommand.parse(["t", "-b", "a:1", "-g", "g"]).consumerConfiguration()
        #expect(receive.sessionTimeout == nil)
        let redrive = try RedriveCommand.parse(["t", "-b", "a:1"]).configurations().0
        #expect(redrive.sessionTimeout == nil)
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
