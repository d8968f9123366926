import ArgumentParser
import KafkaDelivery
import Testing
import ToolSupport

@testable import kafka_delivery

@Suite struct MessageTemplateTests {
    private func message(_ line: String, _ template: MessageTemplate) throws -> KafkaMessage {
        try template.message(Array(line.utf8))
    }

    @Test func aLineIsTheValueAndHasNoKeyUnlessOneIsAskedFor() throws {
        let message = try message("a\tb", MessageTemplate(topic: "t"))
        #expect(message == KafkaMessage(topic: "t", value: "a\tb"))
    }

    @Test func theFirstSeparatorDivides() throws {
        let template = MessageTemplate(topic: "t", key: .before(separator: Array("::".utf8)))
        #expect(try message("k::v::w", template) == KafkaMessage(topic: "t", key: "k", value: "v::w"))
        #expect(try message("::v", template) == KafkaMessage(topic: "t", key: "", value: "v"))
        #expect(try message("k::", template) == KafkaMessage(topic: "t", key: "k", value: ""))
        #expect(throws: MessageTemplate.Failure.separatorMissing) { try message("k:v", template) }
    }

    @Test func anEmptyValueIsNullOnlyWhereTombstonesAreAskedFor() throws {
        var template = MessageTemplate(topic: "t", key: .before(separator: [0x09]))
        #expect(try message("k\t", template).value == "")
        template.hasTombstones = true
        #expect(try message("k\t", template).value == nil)
        #expect(try message("k\t ", template).value == " ")
    }

    @Test func theKeyIsAFieldAndTheValueTheWholeLine() throws {
        let field = try #require(JSONField(path: "id"))
        let template = MessageTemplate(topic: "t", key: .field(field))
        let line = #"{"id":7,"x":1}"#
        #expect(try message(line, template) == KafkaMessage(topic: "t", key: "7", value: line))
        #expect(throws: MessageTemplate.Failure.fieldMissing) { try message("{}", template) }
        #expect(throws: MessageTemplate.Failure.notJSON) { try message("nonsense", template) }
        #expect(throws: MessageTemplate.Failure.fieldIsNoScalar) { try message(#"{"id":null}"#, template) }
    }

    @Test func keyPartitionAndHeadersComeFromTheCommandLine() throws {
        let command = try SendCommand.parse(
            ["t", "--key", "k", "--partition", "3", "-H", "a=1", "--header", "a=2=3", "-H", "null"]
        )
        let message = try message("v", try command.template())
        let headers: KafkaHeaders = [KafkaHeader("a", "1"), KafkaHeader("a", "2=3"), KafkaHeader("null", nil)]
        #expect(message == KafkaMessage(topic: "t", partition: 3, key: "k", value: "v", headers: headers))
    }
}
