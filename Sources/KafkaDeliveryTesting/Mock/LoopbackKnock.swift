#if canImport(Darwin)
    internal import Darwin
#elseif canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#endif

/// Opens a connection to a port on loopback and closes it again, so that the listener there wakes up.
///
/// Never waits. Nothing is reported, because nothing could be done about it.
func knockOnLoopback(port: UInt16) {
    #if canImport(Glibc)
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #else
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
    #endif
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    // A connect waits where the listener's backlog is full, and then the listener has enough to wake up for.
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)

    var address = sockaddr_in()
    #if canImport(Darwin)
        address.sin_len = UInt8(MemoryLayout<sockaddr_in>.size)
    #endif
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
            _ = connect(descriptor, pointer, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}
