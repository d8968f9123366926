import Testing

@testable import ToolSupport

@Suite struct EscapesTests {
    @Test func escapesStandForBytes() throws {
        #expect(try Escapes.bytes(of: #"a\t\n\r\0\\\xfF"#) == [0x61, 0x09, 0x0A, 0x0D, 0x00, 0x5C, 0xFF])
        #expect(try Escapes.bytes(of: "é") == [0xC3, 0xA9])
    }

    @Test func anArgumentMeansItsBytesAndHidesNone() throws {
        #expect(Escapes.argument(for: Array("é \n\\\u{7}".utf8)) == #"é \n\\\x07"#)
        #expect(Escapes.argument(for: [0x61, 0xC3, 0x00]) == #"a\xc3\0"#)
        let all = (0...255).map { UInt8($0) }
        #expect(try Escapes.bytes(of: Escapes.argument(for: all)) == all)
        #expect(try Escapes.bytes(of: Escapes.argument(for: Array(all.prefix(128)))) == Array(all.prefix(128)))
    }

    @Test(arguments: [#"\"#, #"\q"#, #"\x"#, #"\x1"#, #"\xg0"#, #"\x+1"#, #"a\é"#])
    func whatIsNoEscapeIsRefused(argument: String) {
        #expect(throws: Escapes.Invalid.self) { try Escapes.bytes(of: argument) }
    }
}
