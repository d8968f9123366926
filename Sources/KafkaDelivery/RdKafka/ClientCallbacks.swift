internal import CRdKafka
internal import Synchronization

/// What librdkafka's own threads call, through the one pointer that a client can carry (`rd_kafka_conf_set_opaque`).
///
/// ``RdKafkaClient`` keeps it alive until the client's threads have ended.
final class ClientCallbacks: Sendable {
    private let route: ConnectionRoute?
    let groupLog: GroupLog?
    private let verifiesCertificates: Bool
    /// What OpenSSL found in the certificate that was refused last, 0 where none was. Written by librdkafka's broker threads.
    private let certificateFault = Atomic<Int32>(0)

    /// - Parameter verifiesCertificates: Whether brokers have certificates, and these are verified.
    init(route: ConnectionRoute?, groupLog: GroupLog?, verifiesCertificates: Bool) {
        self.route = route
        self.groupLog = groupLog
        self.verifiesCertificates = verifiesCertificates
    }

    /// What is wrong with the certificate that was refused last.
    var whatIsWrongWithTheCertificate: String? {
        CertificateFault.text(certificateFault.load(ordering: .relaxed))
    }

    /// Registers those callbacks that there is something for.
    func apply(to configuration: OpaquePointer) {
        rd_kafka_conf_set_opaque(configuration, Unmanaged.passUnretained(self).toOpaque())
        noteCertificates(in: configuration)
        if route != nil {
            rd_kafka_conf_set_connect_cb(configuration) { socket, address, count, _, opaque in
                guard let route = ClientCallbacks.from(opaque)?.route, let address, count > 0 else {
                    return Platform.invalidArgument
                }
                return route.connect(socket, UnsafeRawBufferPointer(start: address, count: Int(count)))
            }
        }
        if groupLog != nil {
            rd_kafka_conf_set_log_cb(configuration) { client, severity, facility, text in
                guard let client, let facility, let text else { return }
                ClientCallbacks.from(rd_kafka_opaque(client))?.groupLog?.note(
                    severity: severity,
                    facility: String(cString: facility),
                    text: String(cString: text)
                )
            }
        }
    }

    /// Notes what OpenSSL finds, and lets its answer stand. Where librdkafka has no OpenSSL it takes no such callback.
    private func noteCertificates(in configuration: OpaquePointer) {
        guard verifiesCertificates else { return }
        _ = rd_kafka_conf_set_ssl_cert_verify_cb(configuration) { _, _, _, code, _, _, _, reason, size, opaque in
            // Whatever is missing here, nothing is accepted that OpenSSL has not accepted.
            guard let code, code.pointee != 0 else { return code == nil ? 0 : 1 }
            ClientCallbacks.from(opaque)?.certificateFault.store(code.pointee, ordering: .relaxed)
            if let reason, size > 0, let text = CertificateFault.text(code.pointee) {
                let bytes = Array(text.utf8.prefix(size - 1))
                for (index, byte) in bytes.enumerated() { reason[index] = CChar(bitPattern: byte) }
                reason[bytes.count] = 0
            }
            return 0
        }
    }

    private static func from(_ opaque: UnsafeMutableRawPointer?) -> ClientCallbacks? {
        opaque.map { Unmanaged<ClientCallbacks>.fromOpaque($0).takeUnretainedValue() }
    }
}
