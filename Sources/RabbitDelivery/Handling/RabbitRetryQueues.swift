/// Messages that failed wait in queues of their own, and what comes after them goes on: one queue for each delay, for a queue
/// looks only at its head for what has expired.
///
/// A message whose handling failed is published to `<queue>-retry-5s`, confirmed, and then acknowledged; when its time is over, the
/// broker sends it back to the queue. No consumer reads these queues. They are durable, declared by `forEach` before its consumer
/// connects, and stay when they are not needed any more.
///
/// They are quorum queues by default, from which a message is moved back at least once (`x-dead-letter-strategy`, from RabbitMQ 3.10 on),
/// and stays where it cannot be: that costs the broker more memory, and needs the feature flag `stream_queue`, which new
/// brokers have on. From a classic queue the broker sends a message back without a confirmation: **it is lost in silence** where the
/// queue it belongs in was deleted meanwhile, is full and refuses, or the broker is killed in that moment.
public struct RabbitRetryQueues: Sendable {
    /// How long the message waits after its first failure, its second, and so on.
    public let delays: [Duration]
    /// Quorum, from which nothing is lost, or classic.
    public let kind: RabbitTopology.Queue.Kind
    let publisher: RabbitPublisher

    /// Queues for these delays.
    ///
    /// - Parameters:
    ///   - delays: One for each attempt after the policy has given a message up in place, in whole milliseconds; after the last of
    ///     them it becomes a dead letter.
    ///   - kind: Quorum, or classic. Queues that are there already and of the other kind are an error (``RabbitError/Kind/topologyMismatch``).
    ///   - publisher: Who sends the copies.
    public init(
        _ delays: [Duration],
        kind: RabbitTopology.Queue.Kind = .quorum,
        through publisher: RabbitPublisher
    ) {
        self.delays = delays
        self.kind = kind
        self.publisher = publisher
    }

    /// The name of the queue for a delay.
    public static func name(of delay: Duration, for queue: String) -> String {
        let milliseconds = delay.wholeMilliseconds
        return milliseconds % 1_000 == 0
            ? "\(queue)-retry-\(milliseconds / 1_000)s" : "\(queue)-retry-\(milliseconds)ms"
    }

    /// What has to be declared for a queue.
    public func topology(for queue: String) -> RabbitTopology {
        RabbitTopology(
            queues: delays.map { delay in
                var retry = RabbitTopology.Queue(
                    Self.name(of: delay, for: queue),
                    kind,
                    deadLetterExchange: "",
                    deadLetterRoutingKey: queue
                )
                retry.messageTimeToLive = delay
                if kind == .quorum {
                    retry.arguments["x-dead-letter-strategy"] = "at-least-once"
                    // Without it the broker moves them at most once all the same.
                    retry.refusesWhenFull = true
                }
                return retry
            }
        )
    }

    func fault(for queue: String, _ retry: RetryPolicy) -> RabbitError? {
        guard let inPlace = retry.maximumAttempts else {
            return .invalidConfiguration(
                "the retry policy never gives up, and nothing would reach the retry queues: use .none"
            )
        }
        guard inPlace >= 1, !delays.isEmpty,
            delays.allSatisfy({ $0 >= .milliseconds(1) && $0 <= .milliseconds(UInt32.max) })
        else {
            return .invalidConfiguration(
                "a retry queue's delay is less than a millisecond or more than 49 days, or there is none"
            )
        }
        guard kind != .stream else { return .invalidConfiguration("a stream is no retry queue: nothing leaves it") }
        guard Set(delays).count == delays.count else {
            return .invalidConfiguration("two retry queues have the same delay")
        }
        return topology(for: queue).fault
    }
}
