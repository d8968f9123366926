import Testing

@testable import ToolSupport

@Suite struct JSONWriterTests {
    @Test func bytesThatAreNoTextAreBase64UnderANameThatSaysSo() {
        var writer = JSONWriter()
        writer.field("key", bytes: [0xFF, 0x00])
        writer.raw(",")
        writer.field("value", bytes: Array("é".utf8))
        writer.raw(",")
        writer.field("none", bytes: nil)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == #""key_base64":"/wA=","value":"é","none":null"#)
    }

    @Test func whatEndsAStringOrCommandsATerminalIsEscaped() {
        var writer = JSONWriter()
        writer.string("a\"\\\n\u{1B}")
        #expect(String(decoding: writer.bytes, as: UTF8.self) == #""a\"\\\n\u001b""#)
    }
}
