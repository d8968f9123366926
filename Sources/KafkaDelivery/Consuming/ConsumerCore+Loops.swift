internal import Logging
internal import Synchronization

/// For loops over deliveries: who reads what, and who waits for it.
extension ConsumerCore {
    /// The next partition that may have something to read. Waits for one.
    func nextReady(unless shutdown: ShutdownWatch.Flag?) async -> ReadyPartitions<PartitionReader>.Wake {
        subscribe()
        if let wake = state.withLock({ $0.ready.next() }) { return wake }
        return await wait(unless: shutdown) { state, waiter in state.ready.wait(waiter) }
    }

    /// The next partition that may have something to read; nil where there is none until some time.
    func nextReady(
        until deadline: ContinuousClock.Instant,
        unless shutdown: ShutdownWatch.Flag?
    ) async -> ReadyPartitions<PartitionReader>.Wake? {
        subscribe()
        if let wake = state.withLock({ $0.ready.next() }) { return wake }
        let id = WaiterID.next()
        let timer = Task.detached {
            // Time is what is waited for: a message that does not come gives no sign. A sleep that ends too soon would end a wait that goes on.
            while .now < deadline {
                do { try await Task.sleep(until: deadline, clock: .continuous) } catch { return }
            }
            self.cancelWait(id, for: nil)
        }
        defer { timer.cancel() }
        let wake = await wait(as: id, unless: shutdown) { state, waiter in
            if let wake = state.ready.next() { return wake }
            // The timer may have run before there was a waiter.
            return .now < deadline ? state.ready.wait(waiter) : .ended
        }
        if case .ended = wake, ContinuousClock.now >= deadline { return nil }
        return wake
    }

    /// A loop found nothing to read in a partition, since it was told of it.
    func foundNothing(in reader: PartitionReader, since news: ReadyPartitions<PartitionReader>.News) {
        state.withLock { $0.ready.foundNothing(in: reader, since: news) }
    }

    /// A loop does not go on with a partition.
    func putBack(_ reader: PartitionReader) {
        let resumption = withReady { $0.ready.putBack(reader) }
        if let resumption { resume([resumption]) }
    }

    /// A loop has taken a delivery, and others wait for one. Not inlined: most have no loop to hand on to.
    @inline(never)
    func handOn(_ reader: PartitionReader) {
        guard reader.mayHaveMore else { return }
        let resumption = withReady { $0.ready.handOn(reader) }
        if let resumption { resume([resumption]) }
    }

    /// Changes what loops wait for, and notes whether any does.
    private func withReady<Result>(_ body: (inout State) -> sending Result) -> sending Result {
        state.withLock { state in
            defer {
                let hasWaiters = state.ready.hasWaiters
                if loopsWait.load(ordering: .relaxed) != hasWaiters { loopsWait.store(hasWaiters, ordering: .relaxed) }
            }
            return body(&state)
        }
    }

    func beginOwnLoop(_ reader: PartitionReader) {
        let task = TaskIdentity.current
        state.withLock { $0.ready.beginOwnLoop(reader, by: task) }
    }

    /// A partition that was given to a loop over `partitions` has no loop any longer that could read it. A loop that is started
    /// later gets it; not the same one, which did not want it.
    func release(_ reader: PartitionReader, from loop: UInt64) {
        resume(
            withReady { state -> [ReadyPartitions<PartitionReader>.Resumption] in
                guard state.phase == .open, state.failure == nil, !reader.readiness.hasEnded else { return [] }
                // A later loop has it already.
                guard reader.readiness.loop == loop else { return [] }
                state.unseen.append((reader, givenBackBy: loop))
                return [state.ready.release(reader)].compactMap(\.self) + state.matchUnseen()
            }
        )
    }

    /// Waits for news of a partition, in which the caller found nothing to read.
    ///
    /// - Parameter news: What it knew when it looked, which this brings up to date.
    /// - Returns: False where there will be none.
    func waitForNews(
        of reader: PartitionReader,
        since news: inout ReadyPartitions<PartitionReader>.News,
        unless shutdown: ShutdownWatch.Flag? = nil
    ) async -> Bool {
        let known = news
        let wake = await wait(for: reader, unless: shutdown) { state, waiter in
            state.ready.wait(waiter, for: reader, since: known)
        }
        guard case .look(_, let latest) = wake else { return false }
        news = latest
        return true
    }

    /// The next newly assigned partition. Waits for one; nil when the consumer is closed, the task cancelled or the service
    /// shut down.
    ///
    /// - Parameter loop: The number of the loop that asks.
    func nextAssigned(for loop: UInt64, unless shutdown: ShutdownWatch.Flag) async -> PartitionReader? {
        subscribe()
        if Task.isCancelled { return nil }
        let task = TaskIdentity.current
        let wake = await wait(unless: shutdown) { state, waiter in
            if state.phase != .open || state.failure != nil { return .ended }
            if let reader = state.takeUnseen(for: loop) ?? state.takeLeft(by: task, for: loop) {
                return .look(reader, 0)
            }
            state.assignmentWaiters.append((waiter, loop))
            return nil
        }
        guard case .look(let reader, _) = wake else { return nil }
        return reader
    }

    private func wait(
        as id: UInt64 = WaiterID.next(),
        for reader: PartitionReader? = nil,
        unless shutdown: ShutdownWatch.Flag?,
        _ register: (inout State, ReadyPartitions<PartitionReader>.Waiter) -> ReadyPartitions<PartitionReader>.Wake?
    ) async -> ReadyPartitions<PartitionReader>.Wake {
        await waitCancellably(as: id) { id, continuation in
            let waiter = ReadyPartitions<PartitionReader>.Waiter(id: id, continuation: continuation, shutdown: shutdown)
            // Looked at under the lock: it is set before the waiters are looked for under that.
            let wake = withReady { shutdown?.isSet == true ? .ended : register(&$0, waiter) }
            if let wake { continuation.resume(returning: wake) }
        } onCancel: { id in
            cancelWait(id, for: reader)
        }
    }

    private func cancelWait(_ id: UInt64, for reader: PartitionReader?) {
        let waiter = withReady { state in
            state.ready.cancel(id, for: reader)
                ?? state.assignmentWaiters.firstIndex { $0.waiter.id == id }
                .map { state.assignmentWaiters.remove(at: $0).waiter }
        }
        waiter?.continuation.resume(returning: .ended)
    }

    /// Ends the waits of a service that is shut down.
    func endWaits(of shutdown: ShutdownWatch.Flag) {
        resume(
            withReady { state in
                let waiters = state.assignmentWaiters.filter { $0.waiter.shutdown === shutdown }
                state.assignmentWaiters.removeAll { $0.waiter.shutdown === shutdown }
                return waiters.map { ($0.waiter, .ended) } + state.ready.end(shutdown, state.assigned.values)
            }
        )
    }

    /// There is something to read in a partition, or room to read more.
    func signal(_ reader: PartitionReader) {
        resume(withReady { $0.ready.signal(reader) })
    }

    var failure: KafkaError? { state.withLock { $0.failure } }
}

extension ConsumerCore.State {
    mutating func endLoops() -> [ReadyPartitions<PartitionReader>.Resumption] {
        defer { assignmentWaiters = [] }
        return ready.close() + assignmentWaiters.map { ($0.waiter, .ended) }
    }

    fileprivate mutating func takeUnseen(for loop: UInt64) -> PartitionReader? {
        guard let index = unseen.firstIndex(where: { $0.givenBackBy < loop }) else { return nil }
        let reader = unseen.remove(at: index).reader
        reader.readiness.loop = loop
        return reader
    }

    /// A partition that an earlier loop of the same task was given, and that the task does not read any longer: it asks for
    /// another. In top-level code Swift destroys nothing of a loop that was left, and so gives nothing back.
    fileprivate mutating func takeLeft(by task: TaskIdentity?, for loop: UInt64) -> PartitionReader? {
        guard let task else { return nil }
        let left = assigned.values.first { reader in
            reader.readiness.hasOwnLoop && reader.readiness.task == task && reader.readiness.loop < loop
                && !reader.readiness.hasEnded
                && reader.readiness.waiters.isEmpty
        }
        guard let left else { return nil }
        ready.endOwnLoop(left)
        left.readiness.loop = loop
        return left
    }

    /// Gives partitions to the loops that wait for one.
    mutating func matchUnseen() -> [ReadyPartitions<PartitionReader>.Resumption] {
        var resumptions: [ReadyPartitions<PartitionReader>.Resumption] = []
        unseen.removeAll { entry in
            guard let index = assignmentWaiters.firstIndex(where: { $0.loop > entry.givenBackBy }) else { return false }
            let (waiter, loop) = assignmentWaiters.remove(at: index)
            entry.reader.readiness.loop = loop
            resumptions.append((waiter, .look(entry.reader, 0)))
            return true
        }
        return resumptions
    }
}
