#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    #if canImport(FoundationEssentials)
        internal import FoundationEssentials
    #else
        internal import Foundation
    #endif

    /// Rows as events. Columns are read as the types that they should have: nothing that is stored can trap.
    enum SQLiteRows {
        static let columns = "id, slot, idempotency_key, destination, topic, key, payload, headers, created_at"

        static func id(_ row: Row) -> OutboxEvent.ID {
            OutboxEvent.ID(slot: Int(integer(row, 1)), number: integer(row, 0))
        }

        /// The event. Where its headers cannot be read they are left out, and its defect says why.
        static func event(_ row: Row, origin: OutboxEvent.Origin) -> OutboxEvent {
            var message = OutboxMessage(
                destination: text(row, 3),
                topic: text(row, 4),
                key: bytes(row, 5),
                payload: bytes(row, 6),
                idempotencyKey: text(row, 2)
            )
            var defect: String?
            do throws(OutboxError) {
                (message.headers, message.attributes) = try OutboxHeaderCoding.decode(Array(text(row, 7).utf8))
            } catch {
                defect = error.reason
            }
            let createdAt = Date(timeIntervalSince1970: Double(integer(row, 8)) / 1_000)
            return OutboxEvent(id: id(row), createdAt: createdAt, message: message, origin: origin, defect: defect)
        }

        static func integer(_ row: Row, _ index: Int) -> Int64 {
            Int64.fromDatabaseValue(row[index] as DatabaseValue) ?? 0
        }

        static func text(_ row: Row, _ index: Int) -> String {
            String.fromDatabaseValue(row[index] as DatabaseValue) ?? ""
        }

        static func bytes(_ row: Row, _ index: Int) -> [UInt8]? {
            Data.fromDatabaseValue(row[index] as DatabaseValue).map { [UInt8]($0) }
        }

        static func date(_ row: Row, _ index: Int) -> Date {
            Date(timeIntervalSince1970: Double(integer(row, index)) / 1_000)
        }
    }
#endif
