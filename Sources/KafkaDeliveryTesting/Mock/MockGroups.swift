internal import DeliverySystem

/// The mock's groups of the consumer protocol (KIP-848), which newer librdkafkas' mocks have.
///
/// Members cannot say how often they send heartbeats there, which is how they hear of changes; so the mock does, and
/// says that it is often. Its functions for that are not in librdkafka 2.0.2 and are looked up in the process.
enum MockGroups {
    private typealias Setter = @convention(c) (OpaquePointer, Int32) -> Void

    private static let heartbeatMilliseconds: Int32 = 100
    private static let sessionMilliseconds: Int32 = 6_000

    /// For a cluster that no client knows yet.
    static func hasten(_ cluster: OpaquePointer) {
        setter("rd_kafka_mock_set_group_consumer_heartbeat_interval_ms")?(cluster, heartbeatMilliseconds)
        setter("rd_kafka_mock_set_group_consumer_session_timeout_ms")?(cluster, sessionMilliseconds)
    }

    private static func setter(_ name: String) -> Setter? {
        SystemFunction.named(name).map { unsafeBitCast($0, to: Setter.self) }
    }
}
