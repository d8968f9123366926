extension BlockingQueue {
    /// Waits for the result of a call that blocks, without blocking. A task that is cancelled does not wait for it any
    /// longer; the call is made all the same.
    func run<Value: Sendable>(
        _ body: @escaping @Sendable () -> Result<Value, KafkaError>
    ) async -> Result<Value, KafkaError> {
        await run(otherwise: { .failure($0 == .cancelled ? .cancelled(persistence: nil) : .noThread) }, body)
    }
}

extension KafkaError {
    static let noThread = KafkaError(
        .client,
        recovery: .retry,
        reason: "the system has no thread left for a call that waits"
    )
}
