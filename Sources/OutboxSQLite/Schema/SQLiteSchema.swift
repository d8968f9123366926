#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    /// Numbered steps that make tables, and the table that says which of them were taken. A step that was released is never changed.
    struct SQLiteSchema: Sendable {
        /// What the tables are, for a person.
        let what: String
        let table: OutboxTable
        /// The statements of each step, the first of which leads to version 1.
        let steps: [[String]]

        /// The newest version.
        var newest: Int { steps.count }

        private var name: String { table.name("_schema") }

        /// The statements of the steps after a version.
        func statements(from version: Int) -> [String] {
            steps.enumerated().filter { $0.offset >= version }.flatMap { index, step in
                (index == 0 ? ["CREATE TABLE IF NOT EXISTS \(name) (version INTEGER PRIMARY KEY) STRICT"] : [])
                    + step + ["INSERT INTO \(name) (version) VALUES (\(index + 1))"]
            }
        }

        /// The version that the tables have; 0 where there are none.
        func version(_ db: Database) throws -> Int {
            let isThere = try Bool.fetchOne(
                db.cachedStatement(
                    sql: "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE)"
                ),
                arguments: [table.prefix + "_schema"]
            )
            guard isThere == true else { return 0 }
            return try Int.fetchOne(db, sql: "SELECT max(version) FROM \(name)") ?? 0
        }

        /// Fails where the tables are of another version.
        func check(_ db: Database) throws {
            let version = try version(db)
            guard version == newest else {
                throw Self.error(
                    version == 0
                        ? "the \(what)'s tables are not there: migrate first"
                        : "the \(what)'s tables have version \(version), and this library needs \(newest)"
                )
            }
        }

        /// Takes the steps that were not taken.
        ///
        /// - Returns: Their numbers.
        func migrate(_ db: Database) throws -> [Int] {
            let version = try version(db)
            guard version <= newest else {
                throw Self.error(
                    "the \(what)'s tables have version \(version), which is newer than this library's \(newest)"
                )
            }
            for statement in statements(from: version) { try db.execute(sql: statement) }
            return Array((version + 1)..<(newest + 1))
        }

        private static func error(_ reason: String) -> OutboxError {
            OutboxError(kind: .schemaVersion, persistence: .notPersisted, recovery: .fixRequest, reason: reason)
        }
    }
#endif
