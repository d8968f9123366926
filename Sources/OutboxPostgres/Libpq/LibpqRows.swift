internal import CPostgreSQL

// A PGresult does not change once libpq has handed it out, and reading it calls nothing that writes: so it may be read from any
// thread. It is freed with the last reference, which is the task's: the thread that read it gives its own away (`LibpqJob.finish`).
/// What a statement returned: the owner of libpq's result. Values are in PostgreSQL's binary format.
public final class LibpqRows: @unchecked Sendable {
    private let result: OpaquePointer

    /// How many rows there are.
    public let count: Int

    /// Takes the result over.
    init(_ result: OpaquePointer) {
        self.result = result
        self.count = Int(PQntuples(result))
    }

    deinit { PQclear(result) }

    /// How many rows an `INSERT`, `UPDATE`, `DELETE` or `SELECT` was about.
    public var affected: Int { Int(String(cString: PQcmdTuples(result))) ?? 0 }

    /// `INSERT 0 1`, `COMMIT`, `ROLLBACK`, …
    var commandTag: String { String(cString: PQcmdStatus(result)) }

    /// Whether a value is NULL, or not there at all.
    public func isNull(_ row: Int, _ column: Int) -> Bool {
        withBytes(row, column) { _ in false } ?? true
    }

    /// An integer of 2, 4 or 8 bytes; nil for NULL and for what is not of that size.
    public func integer(_ row: Int, _ column: Int) -> Int64? {
        withBytes(row, column) { bytes in
            switch bytes.count {
            case 2: Int64(Int16(bigEndian: bytes.loadUnaligned(as: Int16.self)))
            case 4: Int64(Int32(bigEndian: bytes.loadUnaligned(as: Int32.self)))
            case 8: Int64(bigEndian: bytes.loadUnaligned(as: Int64.self))
            default: nil
            }
        } ?? nil
    }

    /// A truth value; nil for NULL.
    public func boolean(_ row: Int, _ column: Int) -> Bool? {
        withBytes(row, column) { $0.count == 1 ? $0[0] != 0 : nil } ?? nil
    }

    /// A text, with U+FFFD where a byte is no UTF-8; nil for NULL.
    public func text(_ row: Int, _ column: Int) -> String? {
        withBytes(row, column) { String(decoding: $0, as: UTF8.self) }
    }

    /// A text, which is `known` itself where it is the same: nothing is made anew then.
    func text(_ row: Int, _ column: Int, like known: String?) -> String? {
        guard let known else { return text(row, column) }
        let isSame = withBytes(row, column) { bytes in
            known.utf8.withContiguousStorageIfAvailable { utf8 in
                utf8.count == bytes.count && (bytes.isEmpty || UnsafeRawBufferPointer(utf8).elementsEqual(bytes))
            } ?? false
        }
        return isSame == true ? known : text(row, column)
    }

    /// A `bytea`, or any value's bytes; nil for NULL.
    public func bytes(_ row: Int, _ column: Int) -> [UInt8]? {
        withBytes(row, column) { Array($0) }
    }

    /// A value's bytes where they are; nil for NULL, and where there is no such row or column.
    func withBytes<Value>(_ row: Int, _ column: Int, _ body: (UnsafeRawBufferPointer) -> Value) -> Value? {
        guard row >= 0, row < count, column >= 0, column < Int(PQnfields(result)) else { return nil }
        guard PQgetisnull(result, Int32(row), Int32(column)) == 0 else { return nil }
        let length = Int(PQgetlength(result, Int32(row), Int32(column)))
        return body(UnsafeRawBufferPointer(start: PQgetvalue(result, Int32(row), Int32(column)), count: length))
    }
}
