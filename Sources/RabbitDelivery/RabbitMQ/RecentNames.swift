internal import DeliverySystem

/// The exchange and the routing key of the last delivery. A queue's messages mostly have the same, and a text of more than 15 bytes
/// is an allocation. Confined to the connection's thread.
final class RecentNames {
    /// One of them.
    struct Name {
        private var bytes: [UInt8] = []
        private var last = ""

        /// The bytes as text; what is not UTF-8 is replaced.
        mutating func text(_ buffer: UnsafeRawBufferPointer) -> String {
            let isSame = bytes.withUnsafeBytes { bytes in
                guard bytes.count == buffer.count, let one = bytes.baseAddress, let other = buffer.baseAddress else {
                    return bytes.count == buffer.count
                }
                return memcmp(one, other, bytes.count) == 0
            }
            if !isSame {
                bytes = Array(buffer)
                last = String(decoding: buffer, as: UTF8.self)
            }
            return last
        }
    }

    var exchange = Name()
    var routingKey = Name()
}
