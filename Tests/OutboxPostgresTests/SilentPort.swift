#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// A port on loopback that takes connections and says nothing.
final class SilentPort {
    struct NoPort: Error {}

    let port: Int
    private let descriptor: Int32

    init() throws {
        #if canImport(Darwin)
            let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #else
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #endif
        self.descriptor = descriptor
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutableBytes(of: &address) { bytes in
            guard let base = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return Int32(-1) }
            guard bind(descriptor, base, length) == 0, listen(descriptor, 16) == 0 else { return -1 }
            return getsockname(descriptor, base, &length)
        }
        guard code == 0 else { throw NoPort() }
        port = Int(UInt16(bigEndian: address.sin_port))
    }

    deinit { close(descriptor) }
}
