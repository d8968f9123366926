/// Which consumer's handlers a task runs, so that a close that a handler calls does not wait for the handler itself.
struct HandlerTask: Equatable, Sendable {
    // What a handler starts in a task of its own inherits it, and is another task: that may wait.
    @TaskLocal private static var current: HandlerTask?

    private let consumer: ObjectIdentifier
    private let task: TaskIdentity?

    private init(_ consumer: AnyObject) {
        self.consumer = ObjectIdentifier(consumer)
        self.task = .current
    }

    /// Runs handlers, one after the other. Once for many messages: it is not free.
    static func run<Result>(_ consumer: AnyObject, _ body: () async throws -> Result) async rethrows -> Result {
        try await $current.withValue(HandlerTask(consumer)) { try await body() }
    }

    /// Whether the caller is a handler of a consumer, or called by one in the same task.
    static func isHandler(of consumer: AnyObject) -> Bool {
        current == HandlerTask(consumer)
    }
}
