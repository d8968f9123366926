internal import DeliverySystem

/// A C `sockaddr` of whatever family, as a value.
struct SocketAddress: Hashable, Sendable {
    private let bytes: [UInt8]

    /// Nil where the bytes are too few for their family.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= MemoryLayout<sockaddr>.size else { return nil }
        self.bytes = Array(bytes)
        switch family {
        case AF_INET: guard bytes.count >= MemoryLayout<sockaddr_in>.size else { return nil }
        case AF_INET6: guard bytes.count >= MemoryLayout<sockaddr_in6>.size else { return nil }
        default: return nil
        }
    }

    /// This machine, by itself.
    ///
    /// - Parameter port: 0 for one that the system chooses.
    static func loopback(family: Int32, port: UInt16 = 0) -> SocketAddress? {
        if family == AF_INET6 {
            var address = sockaddr_in6()
            #if canImport(Darwin)
                address.sin6_len = UInt8(MemoryLayout<sockaddr_in6>.size)
            #endif
            address.sin6_family = sa_family_t(AF_INET6)
            address.sin6_port = port.bigEndian
            address.sin6_addr = in6addr_loopback
            return withUnsafeBytes(of: &address) { SocketAddress($0) }
        }
        var address = sockaddr_in()
        #if canImport(Darwin)
            address.sin_len = UInt8(MemoryLayout<sockaddr_in>.size)
        #endif
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafeBytes(of: &address) { SocketAddress($0) }
    }

    /// The first address of a host that a connection can be opened to. Blocks while the name is looked up.
    static func lookUp(host: String, port: UInt16) -> SocketAddress? {
        var hints = addrinfo()
        hints.ai_socktype = StreamSocket.kind
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0, let list else { return nil }
        defer { freeaddrinfo(list) }
        var entry: UnsafeMutablePointer<addrinfo>? = list
        while let current = entry {
            let bytes = UnsafeRawBufferPointer(start: current.pointee.ai_addr, count: Int(current.pointee.ai_addrlen))
            if let address = SocketAddress(bytes) { return address }
            entry = current.pointee.ai_next
        }
        return nil
    }

    var family: Int32 {
        bytes.withUnsafeBytes { Int32($0.loadUnaligned(as: sockaddr.self).sa_family) }
    }

    var port: UInt16 {
        bytes.withUnsafeBytes { bytes in
            family == AF_INET6
                ? UInt16(bigEndian: bytes.loadUnaligned(as: sockaddr_in6.self).sin6_port)
                : UInt16(bigEndian: bytes.loadUnaligned(as: sockaddr_in.self).sin_port)
        }
    }

    func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        // Copied to where any sockaddr may be: an array of bytes need not be aligned for one.
        var storage = sockaddr_storage()
        let count = min(bytes.count, MemoryLayout<sockaddr_storage>.size)
        withUnsafeMutableBytes(of: &storage) { $0.copyBytes(from: bytes.prefix(count)) }
        return withUnsafePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(count)) }
        }
    }
}
