extension KafkaConsumer {
    /// A partition that was just assigned and of which nothing was handed out yet, for ``Configuration/startingOffset``.
    public struct AssignedPartition: Sendable, Hashable {
        /// The topic and the partition's number.
        public let partition: KafkaTopicPartition

        /// In which period of owning the partition, counted as ``Delivery/generation`` is.
        public let generation: Int

        /// The offset that the group has committed, the next one to be read; nil where it has committed none, where there is no
        /// group, and where no broker said so within five seconds.
        public let committedOffset: Int64?
    }
}
