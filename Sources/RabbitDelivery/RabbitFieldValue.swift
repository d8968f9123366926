/// A value in a table of AMQP 0-9-1: of a header, of an argument of a queue, of `x-death`.
///
/// Literals make the common ones: `"text"`, `42`, `true`, `1.5`, `["a": 1]`, `["a", "b"]`. The types are those that RabbitMQ
/// speaks (its "AMQP 0-9-1 errata", section 3), with the letter that travels.
public indirect enum RabbitFieldValue: Sendable, Hashable {
    /// `t`
    case bool(Bool)
    /// `b`
    case int8(Int8)
    /// `B`
    case uint8(UInt8)
    /// `s`
    case int16(Int16)
    /// `u`
    case uint16(UInt16)
    /// `I`
    case int32(Int32)
    /// `i`
    case uint32(UInt32)
    /// `l`, which is what integer literals become.
    case int64(Int64)
    /// `f`
    case float(Float)
    /// `d`
    case double(Double)
    /// `D`: `value` divided by ten to the power of `scale`.
    case decimal(scale: UInt8, value: UInt32)
    /// `S`, where it is UTF-8. A long string that is not is received as ``bytes(_:)``.
    case string(String)
    /// `x`
    case bytes([UInt8])
    /// `T`: whole seconds since 1970.
    case timestamp(RabbitTimestamp)
    /// `F`
    case table(RabbitTable)
    /// `A`
    case array([RabbitFieldValue])
    /// `V`: there, and nothing.
    case void

    /// How deep tables and arrays may be in each other, sent and received. RabbitMQ has no limit; a message that goes deeper
    /// would let its sender exhaust the receiver's stack.
    public static let maximumDepth = 32

    /// The text, where it is some.
    public var string: String? {
        if case .string(let string) = self { string } else { nil }
    }

    /// The number, where it is a whole one that `Int64` holds.
    public var integer: Int64? {
        switch self {
        case .int8(let number): Int64(number)
        case .uint8(let number): Int64(number)
        case .int16(let number): Int64(number)
        case .uint16(let number): Int64(number)
        case .int32(let number): Int64(number)
        case .uint32(let number): Int64(number)
        case .int64(let number): number
        default: nil
        }
    }

    /// The table, where it is one.
    public var table: RabbitTable? {
        if case .table(let table) = self { table } else { nil }
    }

    /// The elements, where it is an array.
    public var array: [RabbitFieldValue]? {
        if case .array(let array) = self { array } else { nil }
    }

    /// How many levels of tables and arrays it has; 0 for what is neither.
    var depth: Int {
        switch self {
        case .table(let table): 1 + table.depth
        case .array(let array): 1 + (array.lazy.map(\.depth).max() ?? 0)
        default: 0
        }
    }
}

extension RabbitFieldValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// ``string(_:)``
    public init(stringLiteral value: String) { self = .string(value) }
    /// ``int64(_:)``
    public init(integerLiteral value: Int64) { self = .int64(value) }
    /// ``bool(_:)``
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// ``double(_:)``
    public init(floatLiteral value: Double) { self = .double(value) }
    /// ``array(_:)``
    public init(arrayLiteral elements: RabbitFieldValue...) { self = .array(elements) }
    /// ``table(_:)``
    public init(dictionaryLiteral elements: (String, RabbitFieldValue)...) { self = .table(RabbitTable(elements)) }
}

extension RabbitFieldValue: CustomStringConvertible {
    /// The value, without its type.
    public var description: String {
        switch self {
        case .bool(let value): "\(value)"
        case .int8(let value): "\(value)"
        case .uint8(let value): "\(value)"
        case .int16(let value): "\(value)"
        case .uint16(let value): "\(value)"
        case .int32(let value): "\(value)"
        case .uint32(let value): "\(value)"
        case .int64(let value): "\(value)"
        case .float(let value): "\(value)"
        case .double(let value): "\(value)"
        case .decimal(let scale, let value): "\(value)e-\(scale)"
        case .string(let value): value
        case .bytes(let value): "\(value.count) bytes"
        case .timestamp(let value): "\(value.secondsSince1970)"
        case .table(let value): "\(value)"
        case .array(let value): "\(value)"
        case .void: "void"
        }
    }
}

/// A table of AMQP 0-9-1: names and values, in order, each name once. Headers are one, and the arguments of a queue.
public struct RabbitTable: Sendable, Hashable {
    /// One entry.
    public struct Entry: Sendable, Hashable {
        /// The name, at most 255 bytes of UTF-8.
        public var name: String
        /// The value.
        public var value: RabbitFieldValue
    }

    /// The entries, in the order in which they travel.
    public private(set) var entries: [Entry] = []

    /// No entries.
    public init() {}

    /// Entries in the order given; of a name that is given twice the last counts.
    public init(_ elements: some Sequence<(String, RabbitFieldValue)>) {
        // Looked up, because headers may come from a stored row, and be many.
        var places: [String: Int] = [:]
        for (name, value) in elements {
            if let place = places[name] {
                entries[place].value = value
            } else {
                places[name] = entries.count
                entries.append(Entry(name: name, value: value))
            }
        }
    }

    /// The value of a name; nil takes the entry away.
    public subscript(name: String) -> RabbitFieldValue? {
        get { entries.first { $0.name == name }?.value }
        set {
            let index = entries.firstIndex { $0.name == name }
            switch (index, newValue) {
            case (let index?, let value?): entries[index].value = value
            case (let index?, nil): entries.remove(at: index)
            case (nil, let value?): entries.append(Entry(name: name, value: value))
            case (nil, nil): break
            }
        }
    }

    /// Adds an entry that was received. A name that a peer sent twice stays twice; looking it up finds the first.
    mutating func appendReceived(_ name: String, _ value: RabbitFieldValue) {
        entries.append(Entry(name: name, value: value))
    }

    /// Whether there are none.
    public var isEmpty: Bool { entries.isEmpty }

    /// How many there are.
    public var count: Int { entries.count }

    var depth: Int { entries.lazy.map(\.value.depth).max() ?? 0 }

    /// This table with another's entries, whose values count where both have a name.
    public func merging(_ other: RabbitTable) -> RabbitTable {
        var result = self
        for entry in other.entries { result[entry.name] = entry.value }
        return result
    }
}

extension RabbitTable: ExpressibleByDictionaryLiteral {
    /// `["name": "value"]`, in the order written.
    public init(dictionaryLiteral elements: (String, RabbitFieldValue)...) {
        self.init(elements)
    }
}

extension RabbitTable: Sequence {
    /// The entries, in order.
    public func makeIterator() -> IndexingIterator<[Entry]> {
        entries.makeIterator()
    }
}

extension RabbitTable: CustomStringConvertible {
    /// `[name: value, …]`
    public var description: String {
        "[" + entries.map { "\($0.name): \($0.value)" }.joined(separator: ", ") + "]"
    }
}

/// A point in time as AMQP 0-9-1 keeps it: whole seconds since 1970-01-01T00:00:00Z.
public struct RabbitTimestamp: Sendable, Hashable, Comparable {
    /// Seconds since 1970-01-01T00:00:00Z.
    public var secondsSince1970: UInt64

    /// A timestamp.
    public init(secondsSince1970: UInt64) {
        self.secondsSince1970 = secondsSince1970
    }

    /// Earlier is less.
    public static func < (left: RabbitTimestamp, right: RabbitTimestamp) -> Bool {
        left.secondsSince1970 < right.secondsSince1970
    }
}
