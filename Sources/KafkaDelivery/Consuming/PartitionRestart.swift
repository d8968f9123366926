/// A seek of partitions that librdkafka does not fetch any more.
struct PartitionRestart: Sendable {
    let readers: [(reader: PartitionReader, offset: Int64)]
    let deadline: ContinuousClock.Instant
    let continuation: CheckedContinuation<KafkaError?, Never>
}
