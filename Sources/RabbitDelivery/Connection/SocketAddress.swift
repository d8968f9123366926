internal import DeliverySystem

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
        hints.ai_socktype = StreamSocket.kind
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
            return DeliverySystem.connect(descriptor, address, socklen_t(bytes.count))
        }
    }
}
