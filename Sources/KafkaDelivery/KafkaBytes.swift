/// The bytes of a key, a value or a header.
///
/// You rarely name this type: string literals, `String`, byte collections and anything that is
/// ``KafkaBytesConvertible`` become one where a message is made. A string keeps its own storage and is not copied
/// before librdkafka takes its copy.
public struct KafkaBytes: Sendable {
    enum Storage: Sendable {
        case string(String)
        case array([UInt8])
    }

    let storage: Storage

    /// The UTF-8 bytes of `string`.
    public init(_ string: String) {
        self.storage = .string(string)
    }

    /// The bytes of `bytes`, in order. An `Array` is taken over, anything else is copied.
    public init(_ bytes: some Sequence<UInt8>) {
        self.storage = .array(Array(bytes))
    }

    /// How many bytes there are.
    public var count: Int {
        switch storage {
        case .string(let string): string.utf8.count
        case .array(let array): array.count
        }
    }

    /// Whether there are none. Empty bytes are not the same as no bytes (null): see ``KafkaMessage/value``.
    public var isEmpty: Bool {
        count == 0
    }

    /// The bytes as an array.
    public var array: [UInt8] {
        switch storage {
        case .string(let string): Array(string.utf8)
        case .array(let array): array
        }
    }

    /// The bytes decoded as UTF-8, where they are valid UTF-8.
    public var string: String? {
        switch storage {
        case .string(let string): string
        case .array(let array): String(validating: array, as: UTF8.self)
        }
    }

    /// Calls `body` with the bytes in memory. The pointer is not null even where there are no bytes, because to
    /// librdkafka a null pointer is a null value.
    // Inlined, for every message comes here twice, one call within the other.
    @inline(__always)
    func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        switch storage {
        case .string(let string):
            // In place: a string is retained and released for `withUTF8`, which may have to change it.
            string.utf8.withContiguousStorageIfAvailable { utf8 in
                Self.withNonNull(UnsafeRawBufferPointer(utf8), body)
            } ?? Self.withCopy(of: string, body)
        case .array(let array):
            array.withUnsafeBytes { bytes in Self.withNonNull(bytes, body) }
        }
    }

    /// A string of Foundation's, on Apple's systems, may not have its bytes in one place.
    private static func withCopy<Result>(of string: String, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        var copy = string
        return copy.withUTF8 { utf8 in withNonNull(UnsafeRawBufferPointer(utf8), body) }
    }

    @inline(__always)
    private static func withNonNull<Result>(
        _ bytes: UnsafeRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        if bytes.baseAddress != nil {
            return body(bytes)
        }
        return withUnsafeTemporaryAllocation(byteCount: 1, alignment: 1) { placeholder in
            body(UnsafeRawBufferPointer(start: placeholder.baseAddress, count: 0))
        }
    }
}

extension KafkaBytes: Hashable {
    /// Two values are equal where their bytes are, however they were made.
    public static func == (left: KafkaBytes, right: KafkaBytes) -> Bool {
        left.withUnsafeBytes { left in
            right.withUnsafeBytes { right in left.elementsEqual(right) }
        }
    }

    /// Hashes the bytes.
    public func hash(into hasher: inout Hasher) {
        withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

extension KafkaBytes: ExpressibleByStringLiteral {
    /// The UTF-8 bytes of a literal.
    public init(stringLiteral value: String) {
        self.init(value)
    }
}

extension KafkaBytes: ExpressibleByArrayLiteral {
    /// The bytes of a literal such as `[0xCA, 0xFE]`.
    public init(arrayLiteral elements: UInt8...) {
        self.init(elements)
    }
}

extension KafkaBytes: CustomStringConvertible {
    /// The text where the bytes are UTF-8, otherwise their hexadecimal digits; shortened after 64 bytes.
    public var description: String {
        let limit = 64
        if let string, string.utf8.count <= limit {
            return string
        }
        let shown = array.prefix(limit)
        let digits = shown.map { byte in
            String(byte >> 4, radix: 16) + String(byte & 0xF, radix: 16)
        }
        return "0x" + digits.joined() + (count > limit ? "… (\(count) bytes)" : "")
    }
}

/// What can be the key or the value of a message.
///
/// `String`, `Substring`, `[UInt8]` and its slices, and `Data` conform; an `Encodable` value is taken by
/// `KafkaMessage(topic:key:value:)` as JSON. Conform your own types where their
/// bytes are something else, for instance a Protobuf message:
///
/// ```swift
/// extension Order: KafkaBytesConvertible {
///     var kafkaBytes: KafkaBytes { KafkaBytes(self.protobufBytes) }
/// }
/// ```
public protocol KafkaBytesConvertible {
    /// The bytes that travel.
    var kafkaBytes: KafkaBytes { get }
}

extension KafkaBytes: KafkaBytesConvertible {
    /// Itself.
    public var kafkaBytes: KafkaBytes { self }
}

extension String: KafkaBytesConvertible {
    /// The UTF-8 bytes.
    public var kafkaBytes: KafkaBytes { KafkaBytes(self) }
}

extension Substring: KafkaBytesConvertible {
    /// The UTF-8 bytes.
    public var kafkaBytes: KafkaBytes { KafkaBytes(String(self)) }
}

extension Array: KafkaBytesConvertible where Element == UInt8 {
    /// The bytes.
    public var kafkaBytes: KafkaBytes { KafkaBytes(self) }
}

extension ArraySlice: KafkaBytesConvertible where Element == UInt8 {
    /// The bytes.
    public var kafkaBytes: KafkaBytes { KafkaBytes(self) }
}

extension ContiguousArray: KafkaBytesConvertible where Element == UInt8 {
    /// The bytes.
    public var kafkaBytes: KafkaBytes { KafkaBytes(self) }
}
