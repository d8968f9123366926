internal import DequeModule

/// Bytes that wait to be written to one side of a connection, each piece from its time on.
struct RelayQueue {
    typealias Instant = ContinuousClock.Instant

    private struct Piece {
        let bytes: [UInt8]
        /// Nil for at once.
        let due: Instant?
    }

    /// How many bytes may wait before nothing more is read for this side. What was read before that is kept, so a
    /// read's worth, or a request's, may come on top.
    static let capacity = 1 << 20

    private var pieces: Deque<Piece> = []
    /// How much of the first piece is written.
    private var written = 0
    /// How many bytes wait.
    private(set) var count = 0

    var isFull: Bool { count >= Self.capacity }
    var isEmpty: Bool { count == 0 }

    /// When the first piece is due: `now` where it is due at once, nil where nothing waits.
    func due(_ now: Instant) -> Instant? {
        pieces.first.map { $0.due ?? now }
    }

    /// When the last piece is due.
    var lastDue: Instant? { pieces.last?.due }

    mutating func append(_ bytes: [UInt8], due: Instant? = nil) {
        guard !bytes.isEmpty else { return }
        pieces.append(Piece(bytes: bytes, due: due))
        count += bytes.count
    }

    /// Writes what is due.
    ///
    /// - Parameter write: Takes bytes, and says how many.
    /// - Returns: What writing came to in the end: `count` where everything that is due is written.
    mutating func write(at now: Instant, _ write: (UnsafeRawBufferPointer) -> Socket.Transfer) -> Socket.Transfer {
        while let piece = pieces.first, piece.due.map({ $0 <= now }) ?? true {
            let result = piece.bytes.withUnsafeBytes { write(.init(rebasing: $0.dropFirst(written))) }
            guard case .count(let count) = result else { return result }
            written += count
            self.count -= count
            if written == piece.bytes.count {
                pieces.removeFirst()
                written = 0
            }
        }
        return .count(0)
    }
}
