/// Which of the slots a message belongs to, where the service and not the database decides it (SQLite, MySQL).
///
/// The same hash each time is all that matters: a slot is stored with the row, and only rows of one table are compared. It is
/// FNV-1a of the key, or of the idempotency key where there is none.
public enum OutboxSlot {
    /// 0 to 31.
    public static func of(_ message: OutboxMessage) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in message.key ?? Array(message.idempotencyKey.utf8) {
            hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3
        }
        // The high bits are mixed best.
        return Int((hash ^ hash >> 32) >> 8 & 31)
    }
}
