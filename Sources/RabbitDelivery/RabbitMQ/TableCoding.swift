internal import CRabbitMQ

/// Tables as librabbitmq has them, from ours and back.
extension AMQPPool {
    borrowing func table(_ table: RabbitTable) -> amqp_table_t {
        let count = table.entries.count
        guard count > 0,
            let memory = allocate(count * MemoryLayout<amqp_table_entry_t>.stride)
        else { return amqp_table_t(num_entries: 0, entries: nil) }
        let entries = memory.bindMemory(to: amqp_table_entry_t.self, capacity: count)
        for (index, entry) in table.entries.enumerated() {
            (entries + index).initialize(to: amqp_table_entry_t(key: bytes(entry.name), value: value(entry.value)))
        }
        return amqp_table_t(num_entries: Int32(clamping: count), entries: entries)
    }

    /// A table, and behind it one number more, which counts where the table has that name too.
    borrowing func table(_ table: RabbitTable, _ name: String, _ number: Int64) -> amqp_table_t {
        guard let memory = allocate((table.entries.count + 1) * MemoryLayout<amqp_table_entry_t>.stride) else {
            return amqp_table_t(num_entries: 0, entries: nil)
        }
        let entries = memory.bindMemory(to: amqp_table_entry_t.self, capacity: table.entries.count + 1)
        var count = 0
        for entry in table.entries where entry.name != name {
            (entries + count).initialize(to: amqp_table_entry_t(key: bytes(entry.name), value: value(entry.value)))
            count += 1
        }
        var last = amqp_field_value_t()
        last.kind = UInt8(ascii: "l")
        last.value.i64 = number
        (entries + count).initialize(to: amqp_table_entry_t(key: bytes(name), value: last))
        return amqp_table_t(num_entries: Int32(clamping: count + 1), entries: entries)
    }

    private borrowing func array(_ array: [RabbitFieldValue]) -> amqp_array_t {
        guard !array.isEmpty,
            let memory = allocate(array.count * MemoryLayout<amqp_field_value_t>.stride)
        else { return amqp_array_t(num_entries: 0, entries: nil) }
        let values = memory.bindMemory(to: amqp_field_value_t.self, capacity: array.count)
        for (index, element) in array.enumerated() { (values + index).initialize(to: value(element)) }
        return amqp_array_t(num_entries: Int32(clamping: array.count), entries: values)
    }

    private borrowing func value(_ value: RabbitFieldValue) -> amqp_field_value_t {
        var result = amqp_field_value_t()
        result.kind = value.letter
        switch value {
        case .bool(let value): result.value.boolean = value ? 1 : 0
        case .int8(let value): result.value.i8 = value
        case .uint8(let value): result.value.u8 = value
        case .int16(let value): result.value.i16 = value
        case .uint16(let value): result.value.u16 = value
        case .int32(let value): result.value.i32 = value
        case .uint32(let value): result.value.u32 = value
        case .int64(let value): result.value.i64 = value
        case .float(let value): result.value.f32 = value
        case .double(let value): result.value.f64 = value
        case .decimal(let scale, let value): result.value.decimal = amqp_decimal_t(decimals: scale, value: value)
        case .string(let value): result.value.bytes = bytes(value)
        case .bytes(let value): result.value.bytes = bytes(value)
        case .timestamp(let value): result.value.u64 = value.secondsSince1970
        case .table(let value): result.value.table = table(value)
        case .array(let value): result.value.array = array(value)
        case .void: break
        }
        return result
    }
}

extension RabbitFieldValue {
    /// The letter that travels.
    fileprivate var letter: UInt8 {
        switch self {
        case .bool: UInt8(ascii: "t")
        case .int8: UInt8(ascii: "b")
        case .uint8: UInt8(ascii: "B")
        case .int16: UInt8(ascii: "s")
        case .uint16: UInt8(ascii: "u")
        case .int32: UInt8(ascii: "I")
        case .uint32: UInt8(ascii: "i")
        case .int64: UInt8(ascii: "l")
        case .float: UInt8(ascii: "f")
        case .double: UInt8(ascii: "d")
        case .decimal: UInt8(ascii: "D")
        case .string: UInt8(ascii: "S")
        case .bytes: UInt8(ascii: "x")
        case .timestamp: UInt8(ascii: "T")
        case .table: UInt8(ascii: "F")
        case .array: UInt8(ascii: "A")
        case .void: UInt8(ascii: "V")
        }
    }

    init(_ value: amqp_field_value_t) {
        self =
            switch value.kind {
            case UInt8(ascii: "t"): .bool(value.value.boolean != 0)
            case UInt8(ascii: "b"): .int8(value.value.i8)
            case UInt8(ascii: "B"): .uint8(value.value.u8)
            case UInt8(ascii: "s"): .int16(value.value.i16)
            case UInt8(ascii: "u"): .uint16(value.value.u16)
            case UInt8(ascii: "I"): .int32(value.value.i32)
            case UInt8(ascii: "i"): .uint32(value.value.u32)
            // Not RabbitMQ's: other brokers' unsigned 64 bits. What is too large for ours stays what it is modulo 2^64.
            case UInt8(ascii: "l"), UInt8(ascii: "L"): .int64(value.value.i64)
            case UInt8(ascii: "f"): .float(value.value.f32)
            case UInt8(ascii: "d"): .double(value.value.f64)
            case UInt8(ascii: "D"): .decimal(scale: value.value.decimal.decimals, value: value.value.decimal.value)
            case UInt8(ascii: "S"):
                String(validating: value.value.bytes.buffer, as: UTF8.self).map { .string($0) }
                    ?? .bytes(value.value.bytes.array)
            case UInt8(ascii: "x"): .bytes(value.value.bytes.array)
            case UInt8(ascii: "T"): .timestamp(RabbitTimestamp(secondsSince1970: value.value.u64))
            case UInt8(ascii: "F"): .table(RabbitTable(value.value.table))
            case UInt8(ascii: "A"): .array(Self.elements(value.value.array))
            default: .void
            }
    }

    private static func elements(_ array: amqp_array_t) -> [RabbitFieldValue] {
        UnsafeBufferPointer(start: array.entries, count: array.entries == nil ? 0 : Int(max(array.num_entries, 0)))
            .map { RabbitFieldValue($0) }
    }
}

extension RabbitTable {
    init(_ table: amqp_table_t) {
        self.init()
        let count = table.entries == nil ? 0 : Int(Swift.max(table.num_entries, 0))
        for entry in UnsafeBufferPointer(start: table.entries, count: count) {
            appendReceived(entry.key.text, RabbitFieldValue(entry.value))
        }
    }
}
