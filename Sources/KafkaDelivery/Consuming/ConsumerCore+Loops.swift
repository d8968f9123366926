internal import Logging
internal import Synchronization

/// For loops over deliveries: who reads what, and who waits for it.
extension ConsumerCore {
    /// The next partition that may have something to read. Waits for one.
    func nextReady() async -> ReadyPartitions.Wake {
        subscribe()
        if let wake = state.withLock({ $0.ready.next() }) { return wake }
        return await wait { state, waiter in state.ready.wait(waiter) }
    }

    /// The next partition that may have something to read; nil where there is none until some time.
    func nextReady(until deadline: ContinuousClock.Instant) async -> ReadyPartitions.Wake? {
        subscribe()
        if let wake = state.withLock({ $0.ready.next() }) { return wake }
        let id = WaiterID.next()
        let timer = Task.detached {
            // Time is what is waited for.
            if (try? await Task.sleep(until: deadline, clock: .continuous)) != nil { self.cancelWait(id, for: nil) }
        }
        defer { timer.cancel() }
        let wake = await wait(as: id) { state, waiter in state.ready.wait(waiter) }
        if case .ended = wake, ContinuousClock.now >= deadline { return nil }
        return wake
    }

    func putBack(_ reader: PartitionReader, mayHaveMore: Bool) {
        let resumption = state.withLock { $0.ready.putBack(reader, mayHaveMore: mayHaveMore) }
        if let resumption { resumption.waiter.continuation.resume(returning: resumption.wake) }
    }

    func claim(_ reader: PartitionReader) {
        state.withLock { $0.ready.claim(reader) }
    }

    /// Nobody has hold of a partition any longer that was given to a loop over `partitions`. A loop that is started later
    /// gets it; not the same one, which did not want it.
    func release(_ reader: PartitionReader, from loop: UInt64) {
        resume(
            state.withLock { state -> [ReadyPartitions.Resumption] in
                guard state.phase == .open, state.failure == nil, !reader.hasEnded else { return [] }
                state.unseen.append((reader, givenBackBy: loop))
                return [state.ready.release(reader)].compactMap(\.self) + state.matchUnseen()
            }
        )
    }

    /// Waits for news of a partition that the caller reads alone.
    func waitForNews(of reader: PartitionReader) async -> ReadyPartitions.Wake {
        await wait(for: reader) { state, waiter in state.ready.wait(waiter, for: reader) }
    }

    /// The next newly assigned partition. Waits for one; nil when the consumer is closed or the task cancelled.
    ///
    /// - Parameter loop: The number of the loop that asks.
    func nextAssigned(for loop: UInt64) async -> PartitionReader? {
        subscribe()
        if Task.isCancelled { return nil }
        let wake = await wait { state, waiter in
            if state.phase != .open || state.failure != nil { return .ended }
            if let index = state.unseen.firstIndex(where: { $0.givenBackBy < loop }) {
                return .partition(state.unseen.remove(at: index).reader)
            }
            state.assignmentWaiters.append((waiter, loop))
            return nil
        }
        guard case .partition(let reader) = wake else { return nil }
        return reader
    }

    private func wait(
        as id: UInt64 = WaiterID.next(),
        for reader: PartitionReader? = nil,
        _ register: (inout State, ReadyPartitions.Waiter) -> ReadyPartitions.Wake?
    ) async -> ReadyPartitions.Wake {
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waiter = ReadyPartitions.Waiter(id: id, continuation: continuation)
                if let wake = state.withLock({ register(&$0, waiter) }) {
                    continuation.resume(returning: wake)
                } else if Task.isCancelled {
                    // Cancelled before the waiter was there: its handler has run already and found nobody.
                    cancelWait(id, for: reader)
                }
            }
        } onCancel: {
            cancelWait(id, for: reader)
        }
    }

    private func cancelWait(_ id: UInt64, for reader: PartitionReader?) {
        let waiter = state.withLock { state in
            state.ready.cancel(id, for: reader)
                ?? state.assignmentWaiters.firstIndex { $0.waiter.id == id }
                .map { state.assignmentWaiters.remove(at: $0).waiter }
        }
        waiter?.continuation.resume(returning: .ended)
    }

    /// There is something to read in a partition, or room to read more.
    func signal(_ reader: PartitionReader) {
        for resumption in state.withLock({ $0.ready.signal(reader) }) {
            resumption.waiter.continuation.resume(returning: resumption.wake)
        }
    }

    var failure: KafkaError? { state.withLock { $0.failure } }
}

extension ConsumerCore.State {
    mutating func endLoops() -> [ReadyPartitions.Resumption] {
        defer { assignmentWaiters = [] }
        return ready.close() + assignmentWaiters.map { ($0.waiter, .ended) }
    }

    /// Gives partitions to the loops that wait for one.
    mutating func matchUnseen() -> [ReadyPartitions.Resumption] {
        var resumptions: [ReadyPartitions.Resumption] = []
        unseen.removeAll { entry in
            guard let index = assignmentWaiters.firstIndex(where: { $0.loop > entry.givenBackBy }) else { return false }
            resumptions.append((assignmentWaiters.remove(at: index).waiter, .partition(entry.reader)))
            return true
        }
        return resumptions
    }
}
