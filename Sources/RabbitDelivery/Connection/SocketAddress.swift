#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// An address that can be connected to.
struct SocketAddress: Sendable {
    private let storage: [UInt8]
    let family: Int32

    /// Looks a host up. Blocks for as long as the system's resolver likes, which has no time-out to set.
    ///
    /// - Returns: Its addresses, in the system's order; or what the resolver says.
    static func lookUp(_ host: RabbitHost) -> Result<[SocketAddress], RabbitError> {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        #if os(Linux)
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        #else
            hints.ai_socktype = SOCK_STREAM
        #endif
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host.name, String(host.port), &hints, &list)
        guard status == 0 else {
            return .failure(.connectionLost("\(host.name) is not found: \(String(cString: gai_strerror(status)))"))
        }
        defer { freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = list
        while let entry = next {
            if let address = entry.pointee.ai_addr {
                let bytes = UnsafeRawBufferPointer(start: address, count: Int(entry.pointee.ai_addrlen))
                addresses.append(SocketAddress(storage: Array(bytes), family: entry.pointee.ai_family))
            }
            next = entry.pointee.ai_next
        }
        return addresses.isEmpty ? .failure(.connectionLost("\(host.name) has no address")) : .success(addresses)
    }

    /// Begins to connect.
    func connect(_ descriptor: Int32) -> Int32 {
        storage.withUnsafeBytes { bytes in
            guard let address = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return -1 }
            #if canImport(Glibc)
                return Glibc.connect(descriptor, address, socklen_t(bytes.count))
            #elseif canImport(Musl)
                return Musl.connect(descriptor, address, socklen_t(bytes.count))
            #else
                return Darwin.connect(descriptor, address, socklen_t(bytes.count))
            #endif
        }
    }
}
