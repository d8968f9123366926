#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    #if canImport(FoundationEssentials)
        internal import FoundationEssentials
    #else
        internal import Foundation
    #endif

    extension Database {
        /// Executes a statement with its bound values.
        func execute(_ statement: OutboxStatement) throws {
            try cachedStatement(sql: statement.text).execute(arguments: StatementArguments(statement.values))
        }

        /// Milliseconds since 1970, by the clock of SQLite's host.
        static let now = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
    }

    extension StatementArguments {
        init(_ values: [OutboxValue]) {
            self.init(values.map(\.databaseValue))
        }
    }

    extension OutboxValue {
        var databaseValue: DatabaseValue {
            switch self {
            case .null: .null
            case .text(let text): text.databaseValue
            case .bytes(let bytes): Data(bytes).databaseValue
            case .integer(let number): number.databaseValue
            }
        }
    }

    extension DatabaseWriter {
        /// Runs on the connection that writes, in the order of the calls. Not cancelled with the task: what has begun gets its outcome.
        func perform<Value: Sendable>(
            _ body: @escaping @Sendable (Database) throws -> Value
        ) async throws(OutboxError) -> Value {
            let result: Result<Value, any Error> = await withCheckedContinuation { continuation in
                asyncWriteWithoutTransaction { db in
                    continuation.resume(returning: Result { try body(db) })
                }
            }
            do { return try result.get() } catch { throw OutboxError(database: error) }
        }

        /// Runs in a transaction of its own that may write.
        func transaction<Value: Sendable>(
            _ body: @escaping @Sendable (Database) throws -> Value
        ) async throws(OutboxError) -> Value {
            try await perform { db in
                var value: Value?
                try db.inTransaction(.immediate) {
                    value = try body(db)
                    return .commit
                }
                guard let value else { throw OutboxError.invalidConfiguration("the transaction was not carried out") }
                return value
            }
        }
    }
#endif
