import KafkaDelivery
import Testing
import ToolSupport

@testable import kafka_delivery

@Suite struct MessageFormatTests {
    private let message = KafkaMessage(
        topic: "t",
        key: "k\"1",
        value: [0xFF, 0x00],
        headers: [KafkaHeader("a", "1"), KafkaHeader("a", nil), KafkaHeader("b", [0xC3] as [UInt8])],
        timestamp: KafkaTimestamp(millisecondsSince1970: 1_763_867_655_926)
    )

    private func text(_ format: String, _ message: KafkaMessage) throws -> String {
        let format = try MessageFormat(argument: format)
        return String(decoding: format.bytes(of: message, partition: 2, offset: 42), as: UTF8.self)
    }

    @Test func aValueIsWrittenAsItIs() throws {
        #expect(try MessageFormat(argument: "value").bytes(of: message, partition: 0, offset: 0) == [0xFF, 0x00, 0x0A])
        #expect(try text("value", KafkaMessage(topic: "t", value: nil)) == "\n")
    }

    @Test func anEnvelopeTellsTextFromBytesAndNullFromEmpty() throws {
        #expect(
            try text("json", message) == """
                {"topic":"t","partition":2,"offset":42,"timestamp":"2025-11-23T03:14:15.926Z","key":"k\\"1",\
                "value_base64":"/wA=","headers":[{"name":"a","value":"1"},{"name":"a","value":null},\
                {"name":"b","value_base64":"ww=="}]}

                """
        )
        #expect(
            try text("json", KafkaMessage(topic: "t", key: "", value: nil)) == """
                {"topic":"t","partition":2,"offset":42,"timestamp":null,"key":"","value":null,"headers":[]}

                """
        )
    }

    @Test func controlCharactersAreEscapedInAnEnvelope() throws {
        let line = try text("json", KafkaMessage(topic: "t", value: "\u{1}\n\r\t\\\u{7F}é\u{2028}"))
        #expect(line.contains(#""value":"\u0001\n\r\t\\\u007fé\#u{2028}""#))
    }

    @Test func aPatternNamesEverythingAMessageHas() throws {
        var message = message
        message.value = "v"
        let all = #"%t %p %o %T %k %K %s %S %h 100%%\t\x21\n"#
        message.headers = [KafkaHeader("a", "1"), KafkaHeader("b", nil)]
        #expect(try text(all, message) == "t 2 42 1763867655926 k\"1 3 v 1 a=1,b=NULL 100%\t!\n")
        #expect(try text("%T|%k|%K|%s|%S|%h", KafkaMessage(topic: "t", value: nil)) == "-1||-1||-1|")
    }

    @Test(arguments: ["", "plain", "%", "%q", #"%s\q"#, #"%s\"#, "%é"])
    func aPatternThatMeansNothingIsRefused(pattern: String) {
        #expect(throws: MessageFormat.Invalid.self) { try MessageFormat(argument: pattern) }
    }

    @Test func aBackslashBeforeAPercentSignIsABackslash() throws {
        #expect(try text(#"\\%s"#, KafkaMessage(topic: "t", value: "v")) == #"\v"#)
    }

    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy"),
    ])
    func base64IsThatOfItsStandard(text: String, expected: String) {
        #expect(Base64.text(Array(text.utf8)) == expected)
    }
}
