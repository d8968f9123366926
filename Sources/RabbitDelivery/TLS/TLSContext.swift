internal import COpenSSL

/// What came of reading or writing without waiting.
enum TransferResult {
    case bytes(Int)
    /// Nothing can be done until the socket can be read from, or written to.
    case wouldBlock(onWriting: Bool)
    /// The other side has closed.
    case end
    case failed(RabbitError)
}

/// OpenSSL's settings for one client: certificates, keys, what to check (`SSL_CTX`). The owner of the handle.
final class TLSContext {
    let handle: OpaquePointer
    let settings: RabbitTLS
    /// The key's password, where OpenSSL reads it while the key is loaded.
    private let password: KeyPassword

    private final class KeyPassword {
        let text: String?
        init(_ text: String?) { self.text = text }
    }

    /// - Throws: ``RabbitError`` of kind `invalidConfiguration`, which names the file that cannot be used.
    init(_ settings: RabbitTLS) throws(RabbitError) {
        ERR_clear_error()
        guard let handle = SSL_CTX_new(TLS_client_method()) else {
            throw .invalidConfiguration("OpenSSL has no context: \(Self.problem())")
        }
        self.handle = handle
        self.settings = settings
        password = KeyPassword(settings.clientKeyPassword)
        delivery_ssl_context_set_up(handle)
        SSL_CTX_set_verify(handle, settings.verifiesPeer ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nil)
        try loadAuthorities()
        try loadIdentity()
    }

    deinit {
        SSL_CTX_free(handle)
    }

    private func loadAuthorities() throws(RabbitError) {
        guard let path = settings.certificateAuthority else {
            SSL_CTX_set_default_verify_paths(handle)
            return
        }
        guard SSL_CTX_load_verify_locations(handle, path, nil) == 1 else {
            throw .invalidConfiguration("certificateAuthority \(path) cannot be used: \(Self.problem())")
        }
    }

    private func loadIdentity() throws(RabbitError) {
        guard let certificate = settings.clientCertificate else { return }
        guard SSL_CTX_use_certificate_chain_file(handle, certificate) == 1 else {
            throw .invalidConfiguration("clientCertificate \(certificate) cannot be used: \(Self.problem())")
        }
        // Without a password a key that needs one is refused; OpenSSL would ask at the terminal.
        SSL_CTX_set_default_passwd_cb_userdata(handle, Unmanaged.passUnretained(password).toOpaque())
        SSL_CTX_set_default_passwd_cb(handle) { buffer, size, _, userData in
            guard let buffer, let userData else { return -1 }
            let password = Unmanaged<KeyPassword>.fromOpaque(userData).takeUnretainedValue()
            guard let bytes = password.text.map({ Array($0.utf8) }), bytes.count <= Int(size) else { return -1 }
            UnsafeMutableRawPointer(buffer).copyMemory(from: bytes, byteCount: bytes.count)
            return Int32(bytes.count)
        }
        let key = settings.clientKey ?? certificate
        guard SSL_CTX_use_PrivateKey_file(handle, key, SSL_FILETYPE_PEM) == 1 else {
            throw .invalidConfiguration("clientKey \(key) cannot be used: \(Self.problem())")
        }
        guard SSL_CTX_check_private_key(handle) == 1 else {
            throw .invalidConfiguration("clientKey \(key) does not belong to clientCertificate")
        }
    }

    /// What OpenSSL says of the last error of this thread.
    static func problem() -> String {
        let code = ERR_get_error()
        ERR_clear_error()
        guard code != 0 else { return "no reason given" }
        return ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(code)"
    }
}
