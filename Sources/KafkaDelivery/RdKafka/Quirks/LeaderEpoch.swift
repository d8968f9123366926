internal import CRdKafka
internal import DeliverySystem

/// The leader epoch under which a message was stored (KIP-320): it grows with each new leader of the partition.
///
/// `rd_kafka_message_leader_epoch` is there from librdkafka 2.1.0 on. The least version to link against is older, so the
/// function is looked up in the process.
struct LeaderEpoch: Sendable {
    typealias Function = @convention(c) (UnsafePointer<rd_kafka_message_t>?) -> Int32

    /// Says a message's leader epoch, or -1 where the broker did not; nil where this librdkafka has no such function.
    private static let found: Function? = SystemFunction.named("rd_kafka_message_leader_epoch")
        .map { unsafeBitCast($0, to: Function.self) }

    /// See ``found``. A copy, because each look at a static property first asks whether it is there yet.
    let function = Self.found
}
