internal import COpenSSL
internal import DeliverySystem

/// One connection's encryption (`SSL`), over a socket that does not block. Used by one thread, in which SIGPIPE is blocked:
/// OpenSSL writes with `write`, which has no flag against it. The owner of the handle, not of the socket.
final class TLSSession {
    private let handle: OpaquePointer
    private let context: TLSContext

    /// - Parameters:
    ///   - host: The host as it was given: a name, or an address, which certificates have in another field (RFC 5280, 4.2.1.6).
    /// - Throws: ``RabbitError`` where OpenSSL has no memory, or cannot use the name.
    init(_ context: TLSContext, socket: Int32, host: String) throws(RabbitError) {
        ERR_clear_error()
        guard let handle = SSL_new(context.handle) else {
            throw .connectionLost("OpenSSL has no session: \(TLSContext.problem())")
        }
        self.handle = handle
        self.context = context
        let name = context.settings.serverName ?? host
        let isAddress = Self.isAddress(name)
        SSL_set_fd(handle, socket)
        if !isAddress { delivery_ssl_set_name(handle, name) }
        if context.settings.verifiesHost, context.settings.verifiesPeer {
            let isSet =
                isAddress
                ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(handle), name)
                : SSL_set1_host(handle, name)
            guard isSet == 1 else { throw .invalidConfiguration("\(name) is no name that a certificate can have") }
        }
    }

    deinit {
        SSL_free(handle)
    }

    private static func isAddress(_ name: String) -> Bool {
        var address = in6_addr()
        return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1
    }

    /// Goes on with the greeting; ``TransferResult/bytes(_:)`` where it is done.
    func handshake() -> TransferResult {
        ERR_clear_error()
        let result = SSL_connect(handle)
        if result == 1 { return .bytes(0) }
        let verification = SSL_get_verify_result(handle)
        guard verification != Int(X509_V_OK), context.settings.verifiesPeer else {
            return outcome(result, "the TLS greeting")
        }
        ERR_clear_error()
        let reason = X509_verify_cert_error_string(verification).map { String(cString: $0) } ?? "error \(verification)"
        return .failed(
            RabbitError(.certificate, recovery: .fixRequest, reason: "the broker's certificate is refused: \(reason)")
        )
    }

    func read(into target: UnsafeMutableRawBufferPointer) -> TransferResult {
        ERR_clear_error()
        let count = SSL_read(handle, target.baseAddress, Int32(clamping: target.count))
        return count > 0 ? .bytes(Int(count)) : outcome(count, "reading")
    }

    func write(_ source: UnsafeRawBufferPointer) -> TransferResult {
        ERR_clear_error()
        let count = SSL_write(handle, source.baseAddress, Int32(clamping: source.count))
        return count > 0 ? .bytes(Int(count)) : outcome(count, "writing")
    }

    /// Says good-bye, as far as that goes without waiting.
    func close() {
        ERR_clear_error()
        SSL_shutdown(handle)
        ERR_clear_error()
    }

    private func outcome(_ result: Int32, _ what: String) -> TransferResult {
        let system = errno
        switch SSL_get_error(handle, result) {
        case SSL_ERROR_WANT_READ: return .wouldBlock(onWriting: false)
        case SSL_ERROR_WANT_WRITE: return .wouldBlock(onWriting: true)
        case SSL_ERROR_ZERO_RETURN: return .end
        case SSL_ERROR_SYSCALL:
            ERR_clear_error()
            if system == 0 { return .end }
            return .failed(.connectionLost("\(what) failed: \(String(cString: strerror(system)))"))
        default:
            let problem = TLSContext.problem()
            // A broker that refuses the client's certificate says so in an alert, after it has closed.
            if problem.contains("alert") && (problem.contains("certificate") || problem.contains("unknown ca")) {
                let reason = "the broker refuses the client's certificate: \(problem)"
                return .failed(RabbitError(.certificate, recovery: .fixRequest, reason: reason))
            }
            return .failed(.connectionLost("\(what) failed: \(problem)"))
        }
    }
}
