import Dispatch
import OutboxDelivery
import Synchronization
import Testing

@testable import OutboxPostgres

/// A task that gets no turn for longer than connecting may take, as on a machine that is busy with something else.
@Suite(.timeLimit(.minutes(5)))
struct LateTaskTests {
    /// Runs a task's parts at once, and while it is held none.
    private final class HeldExecutor: TaskExecutor {
        private struct State {
            var isHeld = false
            var running = 0
            var waiting: [UnownedJob] = []
        }

        private let state = Mutex(State())

        func enqueue(_ job: consuming ExecutorJob) {
            let job = UnownedJob(job)
            let isHeld = state.withLock { state in
                if state.isHeld { state.waiting.append(job) } else { state.running += 1 }
                return state.isHeld
            }
            if !isHeld { run(job) }
        }

        private func run(_ job: UnownedJob) {
            Task.detached { [self] in
                job.runSynchronously(on: asUnownedTaskExecutor())
                state.withLock { $0.running -= 1 }
            }
        }

        /// Returns when no part runs.
        func hold() async {
            state.withLock { $0.isHeld = true }
            while state.withLock({ $0.running }) > 0 { await Task.yield() }
        }

        /// Returns when there is a part that waits for its turn.
        func waitUntilOneWaits() async throws {
            while state.withLock({ $0.waiting.isEmpty }) { try await Task.sleep(for: .milliseconds(2)) }
        }

        func letGo() {
            let jobs = state.withLock { state in
                defer { state = State(isHeld: false, running: state.running + state.waiting.count) }
                return state.waiting
            }
            for job in jobs { run(job) }
        }
    }

    @Test func aConnectionThatWasMadeInTimeIsThereForATaskThatIsLate() async throws {
        let executor = HeldExecutor()
        let database = try await TestDatabase.make()
        var settings = database.settings
        settings.connectTimeout = .seconds(20)
        let given = settings
        let (begun, begins) = AsyncStream.makeStream(of: Void.self)
        let mayConnect = DispatchSemaphore(value: 0)
        let task = Task(executorPreference: executor) {
            try await LibpqConnection.open(given) {
                begins.yield()
                mayConnect.wait()
            }
        }
        for await _ in begun { break }
        // It waits for the connection now; what wakes it up is held back.
        await executor.hold()
        mayConnect.signal()
        try await executor.waitUntilOneWaits()
        // Time is what is waited for: connecting may not take longer, and did not.
        try await Task.sleep(for: .seconds(21))
        executor.letGo()
        let connection = try await task.value
        #expect(try await connection.query(OutboxStatement("SELECT 1")).integer(0, 0) == 1)
        await connection.close()
    }
}
