/// Where a client's connections really go: `KafkaDeliveryTesting` puts a relay between a client and its brokers with it
/// (`rd_kafka_conf_set_connect_cb`).
///
/// The addresses that the brokers gave stay as they are, and so do host names in TLS and in log lines.
package final class ConnectionRoute: Sendable {
    /// Connects a non-blocking socket in place of `connect(2)`, on one of librdkafka's threads and with a lock of its
    /// broker held: it must not call librdkafka, and should not block.
    ///
    /// It is given the socket and the broker's `sockaddr`. It returns 0 where the socket is connected or about to be,
    /// otherwise the `errno` of why it is not.
    package let connect: @Sendable (_ socket: Int32, _ address: UnsafeRawBufferPointer) -> Int32

    /// A route that connects sockets with `connect`.
    package init(connect: @escaping @Sendable (_ socket: Int32, _ address: UnsafeRawBufferPointer) -> Int32) {
        self.connect = connect
    }
}
