#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    /// Whether what a connection commits stays committed.
    enum Durability {
        /// Asks the connection for its settings.
        ///
        /// - Throws: ``OutboxError`` of the kind `invalidConfiguration`.
        static func check(_ db: Database) throws {
            // 0 OFF, 1 NORMAL, 2 FULL, 3 EXTRA (https://sqlite.org/pragma.html#pragma_synchronous).
            let level = try Int.fetchOne(db.cachedStatement(sql: "PRAGMA synchronous")) ?? 0
            guard level >= 2 else {
                throw OutboxError.invalidConfiguration(
                    "set PRAGMA synchronous = FULL on the connection that writes: with less, a power cut takes back commits whose messages "
                        + "are published"
                )
            }
        }

        /// Refuses journals that do not outlive the process. A database in memory has no other, and does not either.
        static func checkJournal(_ db: Database) throws {
            let mode = try String.fetchOne(db, sql: "PRAGMA journal_mode")?.lowercased() ?? ""
            let file = try String.fetchOne(db, sql: "SELECT file FROM pragma_database_list WHERE name = 'main'") ?? ""
            guard mode != "off", mode != "memory" || file.isEmpty else {
                throw OutboxError.invalidConfiguration(
                    "choose another journal_mode than \(mode.uppercased()): with it, a crash in a commit leaves half of one"
                )
            }
        }
    }
#endif
