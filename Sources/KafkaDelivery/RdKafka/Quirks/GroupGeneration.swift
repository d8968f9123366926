internal import CRdKafka

/// The generation of the group that a consumer's metadata is of (`rd_kafka_consumer_group_metadata_t`).
///
/// There is no accessor. It stands at the beginning of the serialized form, after its magic `CGMDv2:`, in the machine's byte
/// order, in 2.0.2 to 2.16; what has another form has no generation here, and is taken for that of no member.
enum GroupGeneration {
    /// What comes before it.
    private static let magic = Array("CGMDv2:".utf8)

    /// -1 where it is that of no member.
    static func of(_ metadata: OpaquePointer) -> Int32 {
        var buffer: UnsafeMutableRawPointer?
        var count = 0
        if let error = rd_kafka_consumer_group_metadata_write(metadata, &buffer, &count) {
            rd_kafka_error_destroy(error)
            return -1
        }
        guard let buffer else { return -1 }
        defer { rd_kafka_mem_free(nil, buffer) }
        return of(serialized: UnsafeRawBufferPointer(start: buffer, count: count))
    }

    static func of(serialized bytes: UnsafeRawBufferPointer) -> Int32 {
        guard bytes.starts(with: magic), bytes.count >= magic.count + MemoryLayout<Int32>.size else { return -1 }
        return bytes.loadUnaligned(fromByteOffset: magic.count, as: Int32.self)
    }
}
