internal import DeliverySystem

/// Ports and addresses of this machine's loopback (127.0.0.1).
package enum Loopback {
    /// Why there is no socket or port.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// A socket with a port that the system chooses: it listens where the caller says so, and takes the port until it is closed.
    package static func bind() throws(Failure) -> (descriptor: Int32, port: Int) {
        try bind(to: 0)
    }

    /// A socket with a port for a server that is stopped and started again: one that the system gives to no outgoing connection (Linux
    /// takes those from 32768 up, macOS from 49152). Another one could be taken meanwhile, even by a client that tries to reach the server:
    /// such a client is connected with itself then.
    package static func bindForRestarts() throws(Failure) -> (descriptor: Int32, port: Int) {
        for _ in 0..<100 {
            if let bound = try? bind(to: .random(in: 10_240..<32_768)) { return bound }
        }
        return try bind()
    }

    private static func bind(to wanted: Int) throws(Failure) -> (descriptor: Int32, port: Int) {
        let descriptor = StreamSocket.open(family: AF_INET)
        guard descriptor >= 0 else { throw .last("no socket") }
        var bound = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withAddress(port: wanted) { DeliverySystem.bind(descriptor, $0, $1) } == 0
        let isNamed = withUnsafeMutablePointer(to: &bound) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        guard isBound, isNamed == 0 else {
            let failure = Failure.last("no port")
            _ = close(descriptor)
            throw failure
        }
        return (descriptor, Int(UInt16(bigEndian: bound.sin_port)))
    }

    /// Connects a socket to a port.
    ///
    /// - Returns: As `connect`: 0, or -1 and `errno` says why not.
    package static func connect(_ descriptor: Int32, port: Int) -> Int32 {
        withAddress(port: port) { DeliverySystem.connect(descriptor, $0, $1) }
    }

    private static func withAddress(port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_in()
        #if canImport(Darwin)
            address.sin_len = UInt8(MemoryLayout<sockaddr_in>.size)
        #endif
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

extension Loopback.Failure {
    fileprivate static func last(_ what: String) -> Self {
        Self(description: "\(what): \(String(cString: strerror(errno)))")
    }
}
