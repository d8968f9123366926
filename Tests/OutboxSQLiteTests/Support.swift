#if SQLite
    import Foundation
    import GRDB
    import OutboxDelivery
    import OutboxSQLite

    /// A database in a folder of its own, which goes with it.
    final class TemporaryDatabase: Sendable {
        let folder: URL
        let path: String

        init() throws {
            folder = FileManager.default.temporaryDirectory.appendingPathComponent("outbox-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            path = folder.appendingPathComponent("service.sqlite").path
        }

        deinit {
            try? FileManager.default.removeItem(at: folder)
        }

        /// A connection as another process has: it shares nothing with others but the file.
        func open(_ change: (inout GRDB.Configuration) -> Void = { _ in }) throws -> DatabasePool {
            var configuration = GRDB.Configuration()
            configuration.busyMode = .timeout(30)
            change(&configuration)
            return try DatabasePool(path: path, configuration: configuration)
        }
    }

    /// An outbox in a database of its own, with a business table.
    struct Service: Sendable {
        let file: TemporaryDatabase
        let database: DatabasePool
        let outbox: SQLiteOutbox

        init(prefix: String = "outbox", _ change: (inout SQLiteOutbox.Configuration) -> Void = { _ in }) async throws {
            file = try TemporaryDatabase()
            database = try file.open()
            var configuration = SQLiteOutbox.Configuration()
            configuration.prefix = prefix
            change(&configuration)
            outbox = try SQLiteOutbox(database, configuration)
            try await outbox.migrate()
            try await database.write {
                try $0.execute(sql: "CREATE TABLE task (id TEXT PRIMARY KEY, state INTEGER NOT NULL)")
            }
        }

        @discardableResult
        func store(_ messages: OutboxMessage...) async throws -> [OutboxEvent.ID] {
            try await database.write { db in try messages.map { try outbox.append($0, in: db) } }
        }

        /// Breaks a row's headers, as somebody does who writes SQL by hand.
        func breakHeaders(_ id: OutboxEvent.ID) async throws {
            try await database.write { db in
                try db.execute(sql: "UPDATE outbox SET headers = '{' WHERE id = ?", arguments: [id.number])
            }
        }

        /// Mends the headers of what is parked.
        func mendHeaders() async throws {
            try await database.write { db in
                try db.execute(sql: "UPDATE outbox_parked SET headers = '[]' WHERE headers = '{'")
            }
        }

        /// A session that has the lease.
        func publishing() async throws -> SQLiteSession {
            let session = try await outbox.openSession()
            let share = try await session.balance(busy: [])
            guard share.slots.count == OutboxEvent.slotCount else { throw NoLease() }
            return session
        }

        struct NoLease: Error {}
    }

    extension SQLiteSession {
        /// What there is for a destination.
        func all(
            _ destination: String = "kafka",
            limit: Int = 1_000,
            change: (inout OutboxReadRequest) -> Void = { _ in }
        ) async throws -> [OutboxEvent] {
            var request = OutboxReadRequest(
                destination: destination,
                slots: Array(0..<OutboxEvent.slotCount),
                limitPerSlot: limit,
                maximumBytes: 100_000_000
            )
            change(&request)
            return try await read(request).sorted { $0.id < $1.id }
        }

        func accept(_ events: [OutboxEvent]) async throws {
            var settlement = OutboxSettlement()
            settlement.accepted = events
            try await settle(settlement)
        }

        @discardableResult
        func park(_ event: OutboxEvent, withFollowers: Bool = true, reason: String = "refused") async throws -> Int {
            var settlement = OutboxSettlement()
            settlement.parked = [
                OutboxSettlement.Parking(event: event, attempts: 3, reason: reason, withFollowers: withFollowers)
            ]
            return try await settle(settlement)
        }

        /// Parks those that have a defect, in one settlement, as a publisher does.
        @discardableResult
        func parkDefects(_ events: [OutboxEvent], withFollowers: Bool = true) async throws -> Int {
            var settlement = OutboxSettlement()
            for event in events {
                guard let defect = event.defect else { continue }
                settlement.parked.append(
                    OutboxSettlement.Parking(event: event, attempts: 1, reason: defect, withFollowers: withFollowers)
                )
            }
            return try await settle(settlement)
        }
    }

    extension OutboxMessage {
        /// A message whose payload tells it from others.
        static func of(_ key: String?, _ text: String, to destination: String = "kafka") -> OutboxMessage {
            OutboxMessage(destination: destination, topic: "tasks", key: key, payload: text)
        }
    }

    extension Collection<OutboxEvent> {
        var texts: [String] { map { String(decoding: $0.message.payload ?? [], as: UTF8.self) } }
    }

    /// Waits until a condition holds, which another task or process brings about.
    func waitUntil(_ condition: @Sendable () async throws -> Bool) async throws {
        var pause = Duration.milliseconds(1)
        while try await !condition() {
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(50))
        }
    }
#endif
