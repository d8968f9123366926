internal import DeliveryTesting
internal import Foundation

/// Certificates for tests, made by the `openssl` program: an authority, a server for `localhost` and 127.0.0.1, a client whose
/// common name is `guest`, and an authority that no client should trust.
enum TestCertificates {
    static func make(in directory: URL) throws {
        let script = """
            set -e
            cd "$1"
            new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
            $new -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
            $new -x509 -days 2 -subj /CN=other -keyout other.key -out other-ca.pem
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >server.ext
            for name in server client; do
                common=localhost
                [ $name = server ] || common=guest
                [ $name = server ] || : >server.ext
                $new -subj /CN=$common -keyout $name.key -out $name.csr
                openssl x509 -req -days 2 -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile server.ext \\
                    -out $name.pem
            done
            """
        let process = try ChildProcess("/bin/sh", ["-c", script, "sh", directory.path])
        try process.input.close()
        _ = try process.output.readToEnd()
        guard process.wait() == 0 else {
            throw RabbitServerFailure("openssl could not make the certificates")
        }
    }
}
