/// What to do, as ``PublisherState`` says.
enum PublisherAction {
    case open(session: Int, after: Duration)
    case balance(busy: Set<Int>)
    /// It closes: its slots go to others.
    case leave(busy: Set<Int>)
    case maintain
    case read(Int, OutboxReadRequest)
    case takeOver(Int, destination: String, slot: Int)
    case note(Int, OutboxInflight)
    case publish(Int, destination: String, [OutboxEvent])
    /// A batch that was noted.
    case publishOnce(Int, writer: any ExactlyOnceWriter, [OutboxEvent], OutboxInflight)
    /// It takes too long: its task is cancelled.
    case cancel(Int)
    /// It is not needed any more.
    case release(any ExactlyOnceWriter)
    case settle(Int, OutboxSettlement)
    case wait(atMost: Duration)
    case closeSession
    case tell(OutboxPublisher.Event)
    /// What became of a batch, for metrics.
    case count(destination: String, [OutboxEvent], [OutboxOutcome])
    case fail(OutboxError)
    case finish(abandoned: Int)
}
