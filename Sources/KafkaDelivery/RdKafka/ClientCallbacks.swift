internal import CRdKafka

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// What librdkafka's own threads call, through the one pointer that a client can carry (`rd_kafka_conf_set_opaque`).
///
/// Whoever makes the client keeps this alive until the client's threads have ended.
final class ClientCallbacks: Sendable {
    private let route: ConnectionRoute?
    let groupLog: GroupLog?

    init(route: ConnectionRoute?, groupLog: GroupLog?) {
        self.route = route
        self.groupLog = groupLog
    }

    /// Registers those callbacks that there is something for.
    func apply(to configuration: OpaquePointer) {
        rd_kafka_conf_set_opaque(configuration, Unmanaged.passUnretained(self).toOpaque())
        if route != nil {
            rd_kafka_conf_set_connect_cb(configuration) { socket, address, count, _, opaque in
                guard let route = ClientCallbacks.from(opaque)?.route, let address, count > 0 else { return EINVAL }
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

    private static func from(_ opaque: UnsafeMutableRawPointer?) -> ClientCallbacks? {
        opaque.map { Unmanaged<ClientCallbacks>.fromOpaque($0).takeUnretainedValue() }
    }
}
