internal import CRdKafka

/// What is wrong with a broker's certificate, as OpenSSL says while it is verified (`X509_V_ERR_…`). librdkafka has one text for all
/// of it.
enum CertificateFault {
    /// In a sentence's end; nil where there is nothing wrong.
    static func text(_ code: Int32) -> String? {
        switch code {
        case 0: nil
        case 62, 64:
            "the certificate is for another host name than the one that the broker is reached by: see bootstrapServers and the "
                + "broker's advertised.listeners"
        case 2, 18, 19, 20, 21:
            "the certificate is not signed by an authority that is trusted: see certificateAuthority of security "
                + "(ssl.ca.location)"
        case 9: "the certificate is not valid yet"
        case 10: "the certificate has expired"
        case 23: "the certificate was revoked"
        default: "OpenSSL's X.509 error \(code)"
        }
    }
}

extension KafkaError {
    /// Whether a broker's certificate was refused.
    var isOfCertificate: Bool {
        code == RD_KAFKA_RESP_ERR__SSL.name && reason.contains(Self.certificateText)
    }

    /// OpenSSL's words for it, in librdkafka's sentence.
    static let certificateText = "certificate verify failed"
}
