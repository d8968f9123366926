internal import DequeModule

/// Statements that were not handed to libpq yet, in their order. Each has a time of its own, which may be over before that of those
/// before it.
struct LibpqWaiting {
    private var jobs: Deque<LibpqJob> = []
    /// When one of them may be overdue: at their first deadline, or before it, where the statement that had that one is not here any more.
    private(set) var nextDeadline: ContinuousClock.Instant?

    mutating func append(contentsOf new: some Sequence<LibpqJob>) {
        for job in new {
            jobs.append(job)
            nextDeadline = nextDeadline.map { min($0, job.deadline) } ?? job.deadline
        }
    }

    mutating func popFirst() -> LibpqJob? {
        defer { if jobs.isEmpty { nextDeadline = nil } }
        return jobs.popFirst()
    }

    /// Takes those whose time is over.
    mutating func takeOverdue(at now: ContinuousClock.Instant) -> [LibpqJob] {
        guard let nextDeadline, nextDeadline <= now else { return [] }
        let overdue = jobs.filter { $0.deadline <= now }
        if !overdue.isEmpty { jobs.removeAll { $0.deadline <= now } }
        self.nextDeadline = jobs.lazy.map(\.deadline).min()
        return Array(overdue)
    }
}
