internal import Logging

extension KafkaConsumer {
    /// What a consumer's tasks share, and the thread that runs its ``ConsumerLoop``.
    static func core(
        _ configuration: Configuration,
        _ logger: Logger,
        backoff: any BackoffClock = SystemBackoffClock(),
        commits: Bool = true
    ) throws(KafkaError) -> ConsumerCore {
        try ConsumerCore(configuration, logger: logger, backoff: backoff, commits: commits, thread: ConsumerLoop.serve)
    }
}
