internal import CRabbitMQ

/// Memory that librabbitmq decodes into, and that values to encode are put into: one of its pools (`amqp_pool_t`). Used by one
/// thread. What was taken from it is gone with ``recycle()``.
struct AMQPPool: ~Copyable {
    private let pool: UnsafeMutablePointer<amqp_pool_t>

    init() {
        pool = .allocate(capacity: 1)
        init_amqp_pool(pool, 8_192)
    }

    deinit {
        empty_amqp_pool(pool)
        pool.deallocate()
    }

    var raw: UnsafeMutablePointer<amqp_pool_t> { pool }

    /// Gives back what is larger than a page, and lets the pages be used again.
    borrowing func recycle() {
        recycle_amqp_pool(pool)
    }

    /// - Returns: Nil where the system has no memory left.
    borrowing func allocate(_ count: Int) -> UnsafeMutableRawPointer? {
        amqp_pool_alloc(pool, max(count, 1))
    }

    /// A copy of a string's UTF-8; empty where the system has no memory left.
    borrowing func bytes(_ string: String) -> amqp_bytes_t {
        var string = string
        return string.withUTF8 { copy(UnsafeRawBufferPointer($0)) }
    }

    borrowing func bytes(_ array: [UInt8]) -> amqp_bytes_t {
        array.withUnsafeBytes { copy($0) }
    }

    private borrowing func copy(_ source: UnsafeRawBufferPointer) -> amqp_bytes_t {
        guard let base = source.baseAddress, let target = allocate(source.count) else {
            return amqp_bytes_t(len: 0, bytes: nil)
        }
        target.copyMemory(from: base, byteCount: source.count)
        return amqp_bytes_t(len: source.count, bytes: target)
    }
}

extension amqp_bytes_t {
    /// Lends what is decoded.
    var buffer: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : len)
    }

    /// A copy as text; what is not UTF-8 is replaced.
    var text: String {
        String(decoding: buffer, as: UTF8.self)
    }

    var array: [UInt8] { Array(buffer) }
}
