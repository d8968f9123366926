import Testing

@testable import ToolSupport

@Suite struct EscapesTests {
    @Test func escapesStandForBytes() throws {
        #expect(try Escapes.bytes(of: #"a\t\n\r\0\\\xfF"#) == [0x61, 0x09, 0x0A, 0x0D, 0x00, 0x5C, 0xFF])
        #expect(try Escapes.bytes(of: "é") == [0xC3, 0xA9])
    }

    @Test(arguments: [#"\"#, #"\q"#, #"\x"#, #"\x1"#, #"\xg0"#, #"\x+1"#, #"a\é"#])
    func whatIsNoEscapeIsRefused(argument: String) {
        #expect(throws: Escapes.Invalid.self) { try Escapes.bytes(of: argument) }
    }
}
