import Foundation

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// A session of PostgreSQL's whose client sends, and reads nothing. For a server that trusts.
final class UnreadConnection {
    struct Failure: Error {}

    private let descriptor: Int32

    init(url: String) throws {
        guard let port = URL(string: url)?.port.flatMap(UInt16.init(exactly:)) else { throw Failure() }
        #if canImport(Darwin)
            descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #else
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        address.sin_port = port.bigEndian
        let code = withUnsafeBytes(of: &address) { bytes in
            bytes.baseAddress.map {
                connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
            }
        }
        guard code == 0 else { throw Failure() }
        // A start-up message: its length, the protocol's version 3.0, names and values.
        let words = Array("user\0postgres\0database\0postgres\0\0".utf8)
        try write(Self.number(UInt32(words.count + 8)) + Self.number(196_608) + words)
    }

    /// A simple query.
    func send(_ text: String) throws {
        try write([UInt8(ascii: "Q")] + Self.number(UInt32(text.utf8.count + 5)) + Array(text.utf8) + [0])
    }

    private static func number(_ value: UInt32) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    private func write(_ bytes: [UInt8]) throws {
        guard Foundation.write(descriptor, bytes, bytes.count) == bytes.count else { throw Failure() }
    }

    func close() { _ = Foundation.close(descriptor) }
}
