/// Which assigned partitions the application is still to be asked where they begin (``KafkaConsumer/Configuration/startingOffset``),
/// and when. A value without threads; the consumer's thread asks.
///
/// So many are asked at a time; where that fails, the partition waits for its next turn without holding up others.
struct StartingOffsets<Partition: AnyObject> {
    typealias Instant = ContinuousClock.Instant

    enum Action {
        /// Ask the application.
        case ask(Partition, committed: Int64?)
        /// The application does not wait for its answer any longer: the partition went.
        case cancel(Partition)
    }

    /// What an answer comes to.
    enum Answer {
        /// The partition begins there; nil for where it would have begun without being asked about.
        case begin(Int64?)
        /// It is asked about again after a while.
        case retry(after: Duration)
        /// It fails, until it is sought or assigned anew.
        case fail(any Error)
        /// The partition went meanwhile.
        case outdated
    }

    private struct Question {
        let partition: Partition
        let committed: Int64?
        var failures = 0
        var due: Instant
    }

    /// How many are asked about at a time.
    static var maximumAsked: Int { 16 }

    private let retry = RetryPolicy.exponential(
        initial: .milliseconds(100),
        maximum: .seconds(10),
        maximumAttempts: nil
    )
    private var waiting: [Question] = []
    private var asked: [ObjectIdentifier: Question] = [:]

    /// When a partition is to be asked about next; nil where none waits, or as many are asked about as may be.
    var next: Instant? { asked.count < Self.maximumAsked ? waiting.map(\.due).min() : nil }

    /// Partitions were assigned.
    mutating func assigned(_ partitions: [(partition: Partition, committed: Int64?)], at now: Instant) {
        for (partition, committed) in partitions {
            waiting.append(Question(partition: partition, committed: committed, due: now))
        }
    }

    /// Partitions were revoked, or the consumer closes.
    mutating func ended(_ partitions: some Sequence<Partition>) -> [Action] {
        guard !waiting.isEmpty || !asked.isEmpty else { return [] }
        let ended = Set(partitions.map { ObjectIdentifier($0) })
        waiting.removeAll { ended.contains(ObjectIdentifier($0.partition)) }
        return ended.compactMap { asked.removeValue(forKey: $0) }.map { .cancel($0.partition) }
    }

    /// Takes the next step: asks about those whose time has come, in the order in which it came.
    mutating func advance(at now: Instant) -> [Action] {
        guard !waiting.isEmpty else { return [] }
        var actions: [Action] = []
        var rest: [Question] = []
        for question in waiting.sorted(by: { $0.due < $1.due }) {
            guard question.due <= now, asked.count < Self.maximumAsked else {
                rest.append(question)
                continue
            }
            asked[ObjectIdentifier(question.partition)] = question
            actions.append(.ask(question.partition, committed: question.committed))
        }
        waiting = rest
        return actions
    }

    /// The application has answered.
    mutating func answered(_ partition: Partition, _ result: Result<Int64?, any Error>, at now: Instant) -> Answer {
        guard var question = asked.removeValue(forKey: ObjectIdentifier(partition)) else { return .outdated }
        switch result {
        case .success(let offset): return .begin(offset)
        case .failure(HandlingStop.endLoop(let error)): return .fail(error)
        case .failure:
            question.failures += 1
            let delay = retry.delay(after: question.failures)
            question.due = now.advanced(by: delay)
            waiting.append(question)
            return .retry(after: delay)
        }
    }
}
