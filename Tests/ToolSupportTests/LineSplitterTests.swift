import Testing

@testable import ToolSupport

@Suite struct LineSplitterTests {
    /// Divides `text` after reading it in pieces of `size` bytes.
    private func lines(of text: [UInt8], pieces size: Int, limit: Int = 100) throws -> [LineSplitter.Line] {
        var splitter = LineSplitter(limit: limit)
        var lines: [LineSplitter.Line] = []
        for start in stride(from: 0, to: text.count, by: size) {
            var piece = text[start..<min(start + size, text.count)]
            while let line = try splitter.next(in: &piece) { lines.append(line) }
        }
        if let line = try splitter.finish() { lines.append(line) }
        return lines
    }

    private func line(_ text: String, _ ending: LineSplitter.Line.Ending) -> LineSplitter.Line {
        LineSplitter.Line(bytes: Array(text.utf8), ending: ending)
    }

    @Test(arguments: 1...12)
    func linesAreTheSameHoweverTheInputComes(pieces: Int) throws {
        let found = try lines(of: Array("one\r\n\n\r\ntwo\rthree\nlast".utf8), pieces: pieces)
        #expect(
            found == [
                line("one", .carriageReturnLineFeed), line("", .lineFeed), line("", .carriageReturnLineFeed),
                line("two\rthree", .lineFeed), line("last", .none),
            ]
        )
    }

    @Test func aLineFeedAtTheEndBeginsNoLine() throws {
        #expect(try lines(of: Array("one\n".utf8), pieces: 4) == [line("one", .lineFeed)])
        #expect(try lines(of: [], pieces: 4).isEmpty)
    }

    @Test func bytesThatAreNoTextPassUnchanged() throws {
        let found = try lines(of: [0xFF, 0x00, 0xFE, 0x0A, 0xC3], pieces: 2)
        #expect(found.map(\.bytes) == [[0xFF, 0x00, 0xFE], [0xC3]])
    }

    @Test func aLineCanBeWrittenAgainAsItWas() {
        #expect(line("a", .lineFeed).raw == Array("a\n".utf8))
        #expect(line("a", .carriageReturnLineFeed).raw == Array("a\r\n".utf8))
        #expect(line("a", .none).raw == Array("a\n".utf8))
    }

    @Test(arguments: 1...8)
    func aLineBeyondTheLimitIsRefusedAndOneAtTheLimitIsNot(pieces: Int) throws {
        let atLimit = Array("12345\r\n12345\n12345".utf8)
        #expect(try lines(of: atLimit, pieces: pieces, limit: 5).count == 3)
        for tooLong in ["123456\n", "123456\r\n", "123456", "1234567"] {
            #expect(throws: LineSplitter.TooLong(limit: 5)) {
                try lines(of: Array(tooLong.utf8), pieces: pieces, limit: 5)
            }
        }
    }
}
