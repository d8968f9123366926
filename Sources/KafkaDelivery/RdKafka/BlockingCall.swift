internal import Synchronization

/// One call that blocks, on a thread of its own, and the task that waits for it.
final class BlockingCall<Value: Sendable>: Sendable {
    private enum State {
        case running
        case awaited(CheckedContinuation<Result<Value, KafkaError>, Never>)
        case done(Result<Value, KafkaError>)
    }

    // The thread ends it, the task waits for it, whoever cancels the task gives it up.
    private let state = Mutex(State.running)

    private init() {}

    /// Runs `body` and waits for it. Where the task is cancelled nobody waits any longer; the call goes on to its end.
    static func run(
        _ name: String,
        _ body: @escaping @Sendable () throws(KafkaError) -> Value
    ) async throws(KafkaError) -> Value {
        let call = BlockingCall()
        let isStarted = BlockingThread.start(name) {
            do throws(KafkaError) {
                call.finish(.success(try body()))
            } catch {
                call.finish(.failure(error))
            }
        }
        guard isStarted else {
            throw KafkaError(.client, recovery: .retry, reason: "the system has no thread left")
        }
        return try await withTaskCancellationHandler {
            await call.result()
        } onCancel: {
            call.finish(.failure(.cancelled(persistence: nil)))
        }.get()
    }

    /// The first end counts.
    private func finish(_ result: Result<Value, KafkaError>) {
        let continuation: CheckedContinuation<Result<Value, KafkaError>, Never>? = state.withLock { state in
            switch state {
            case .running:
                state = .done(result)
                return nil
            case .awaited(let continuation):
                state = .done(result)
                return continuation
            case .done:
                return nil
            }
        }
        continuation?.resume(returning: result)
    }

    private func result() async -> Result<Value, KafkaError> {
        await withCheckedContinuation { continuation in
            let result: Result<Value, KafkaError>? = state.withLock { state in
                if case .done(let result) = state { return result }
                state = .awaited(continuation)
                return nil
            }
            if let result { continuation.resume(returning: result) }
        }
    }
}
