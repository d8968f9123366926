/// A TCP socket, as far as systems differ in it.
package enum StreamSocket {
    /// `SOCK_STREAM`: a number on one system, one of an enumeration on another.
    package static var kind: Int32 {
        #if canImport(Glibc)
            Int32(SOCK_STREAM.rawValue)
        #else
            SOCK_STREAM
        #endif
    }

    /// One that programs which this process starts do not inherit.
    ///
    /// - Returns: Less than 0 where the system has none, and `errno` says why.
    package static func open(family: Int32) -> Int32 {
        #if canImport(Glibc)
            // At once, because another thread may start a program between two calls.
            return socket(family, kind | Int32(SOCK_CLOEXEC.rawValue), 0)
        #elseif canImport(Musl)
            return socket(family, kind | SOCK_CLOEXEC, 0)
        #else
            let descriptor = socket(family, kind, 0)
            if descriptor >= 0 { prepare(descriptor) }
            return descriptor
        #endif
    }

    /// The same for one that was accepted.
    package static func prepare(_ descriptor: Int32) {
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        #if canImport(Darwin)
            var yes: Int32 = 1
            setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &yes, socklen_t(MemoryLayout<Int32>.size))
        #endif
    }

    /// `send`, for one from ``open(family:)`` or after ``prepare(_:)``: where the other end is gone it fails, and no SIGPIPE is raised.
    package static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Darwin)
            send(descriptor, bytes.baseAddress, bytes.count, 0)
        #else
            send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
        #endif
    }
}
