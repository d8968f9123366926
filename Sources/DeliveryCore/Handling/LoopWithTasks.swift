/// Runs a loop that starts tasks. The first error of any task ends the loop and the other tasks, and is thrown.
///
/// A task group alone does not do that: an error cancels the group's tasks, but not the body that adds them, which here
/// waits for messages that may never come.
@usableFromInline
package func withLoopAndTasks(
    _ loop: @escaping @Sendable (_ start: (@escaping @Sendable () async throws -> Void) -> Void) async throws -> Void
) async throws {
    let (failures, failure) = AsyncThrowingStream.makeStream(of: Never.self)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            defer { failure.finish() }
            try await withThrowingDiscardingTaskGroup { tasks in
                try await loop { task in
                    tasks.addTask {
                        do {
                            try await task()
                        } catch {
                            failure.finish(throwing: error)
                            throw error
                        }
                    }
                }
            }
        }
        group.addTask {
            for try await _ in failures {}
        }
        // Not waitForAll(), which waits for the others before it throws, and so never cancels them.
        while try await group.next() != nil {}
    }
}
