internal import CRdKafka

/// A version of librdkafka. What can be expected of it, ``Quirks`` says, which alone compares versions.
///
/// The headers say what a program was compiled with; the loader may find a newer library when it starts. So everything here
/// is decided by the version that runs (``current``), and a function that 2.0.2 does not have is looked up by its name when it
/// is first needed, never linked.
package struct LibrdkafkaVersion: Comparable, Sendable, CustomStringConvertible {
    /// The version that this process runs on (`rd_kafka_version`).
    package static let current = LibrdkafkaVersion(code: UInt32(bitPattern: rd_kafka_version()))

    /// Major, minor and revision in a byte each; a pre-release counts as its release.
    private let number: UInt32

    package init(_ major: UInt8, _ minor: UInt8, _ revision: UInt8) {
        number = UInt32(major) << 16 | UInt32(minor) << 8 | UInt32(revision)
    }

    /// - Parameter code: `0xMMmmrrxx`, where `xx` is ff in a release.
    private init(code: UInt32) {
        number = code >> 8
    }

    package static func < (one: Self, other: Self) -> Bool { one.number < other.number }

    /// As in `2.0.2`.
    package var description: String { "\(number >> 16).\(number >> 8 & 0xff).\(number & 0xff)" }
}
