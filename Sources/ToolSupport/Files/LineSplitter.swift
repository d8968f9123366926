/// Divides bytes that come in pieces into lines, whatever the pieces are.
///
/// A line ends with `\n` or `\r\n`; the last one may lack it. Bytes are passed on as they are, UTF-8 or not.
package struct LineSplitter {
    /// A line without the end of it.
    package struct Line: Equatable {
        /// How a line ended.
        package enum Ending: Equatable {
            case lineFeed
            case carriageReturnLineFeed
            /// At the end of the input.
            case none
        }

        package var bytes: [UInt8]
        package var ending: Ending

        /// As it was in the input; one that lacked its end gets `\n`, so that another can follow.
        package var raw: [UInt8] {
            bytes + (ending == .carriageReturnLineFeed ? [0x0D, 0x0A] : [0x0A])
        }
    }

    /// A line has more bytes than the limit. Nothing after it can be divided.
    package struct TooLong: Error, Equatable {
        package let limit: Int
    }

    /// The longest line, its end not counted. It bounds the memory that input without line ends would take.
    package let limit: Int
    private var rest: [UInt8] = []

    package init(limit: Int) {
        self.limit = limit
    }

    /// Takes the next line off `piece`; nil where it has no line end, and is kept for the next piece.
    package mutating func next(in piece: inout ArraySlice<UInt8>) throws(TooLong) -> Line? {
        guard let end = piece.firstIndex(of: 0x0A) else {
            rest.append(contentsOf: piece)
            piece = []
            // One more for a carriage return that may belong to the line's end.
            guard rest.count <= limit + 1 else { throw TooLong(limit: limit) }
            return nil
        }
        var bytes = rest
        if bytes.isEmpty {
            bytes = Array(piece[..<end])
        } else {
            bytes.append(contentsOf: piece[..<end])
            rest = []
        }
        piece = piece[(end + 1)...]
        let hasCarriageReturn = bytes.last == 0x0D
        if hasCarriageReturn { bytes.removeLast() }
        guard bytes.count <= limit else { throw TooLong(limit: limit) }
        return Line(bytes: bytes, ending: hasCarriageReturn ? .carriageReturnLineFeed : .lineFeed)
    }

    /// What is left when there are no more pieces: a last line without its end, nil where there is none.
    package mutating func finish() throws(TooLong) -> Line? {
        guard !rest.isEmpty else { return nil }
        guard rest.count <= limit else { throw TooLong(limit: limit) }
        defer { rest = [] }
        return Line(bytes: rest, ending: .none)
    }
}
