/// What happened, as ``PublisherState`` is told.
enum PublisherInput {
    case begin
    /// A session is open, which is owed a word so often.
    case opened(keepAlive: Duration)
    /// Opening one failed, or the session did.
    case failed(OutboxError, session: Int)
    case balanced(OutboxShare, session: Int)
    case maintained(OutboxMaintenance, session: Int)
    case read(Int, [OutboxEvent])
    /// A slot was taken over at an exactly-once destination.
    case tookOver(Int, any ExactlyOnceWriter, last: Int64)
    case notTakenOver(Int, OutboxError)
    /// A batch is noted in the database.
    case noted(Int)
    /// A batch's outcomes, and where its events went, as far as that is known.
    case published(Int, [OutboxOutcome], places: [String?] = [])
    case publishedOnce(Int, ExactlyOnceResult)
    case settled(Int)
    /// Waiting for work ended: something came, or the time was over.
    case waited(Bool, session: Int)
    case timer
    case close
    /// The time for closing is over: what is at destinations is cancelled.
    case closeNow
    /// The task that runs the publisher was cancelled: nothing is waited for.
    case end
}
