/// Which task something runs in, for as long as that runs.
struct TaskIdentity: Equatable {
    // Of a task only its hash can be kept.
    private let hash: Int

    static var current: TaskIdentity? {
        withUnsafeCurrentTask { task in task.map { TaskIdentity(hash: $0.hashValue) } }
    }
}
