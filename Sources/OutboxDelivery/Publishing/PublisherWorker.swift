internal import DeliveryCore
internal import Logging
internal import Synchronization

/// Carries out what ``PublisherState`` says. Used by the one task that runs the publisher; the actions are tasks of their own, which
/// answer with inputs.
final class PublisherWorker {
    private let store: any OutboxStore
    private let destinations: [String: any OutboxDestination]
    private let logger: Logger
    private let input: AsyncStream<PublisherState.Input>.Continuation
    private let events: AsyncStream<OutboxPublisher.Event>.Continuation
    private var state: PublisherState
    private var metrics: PublisherMetrics?
    private var session: (any OutboxSession)?
    private var sessionNumber = 0
    private var publishing: [Int: Task<Void, Never>] = [:]
    private var opening: Task<Void, Never>?
    private var timer: (deadline: ContinuousClock.Instant, task: Task<Void, Never>)?
    private var ending: Result<Void, OutboxError>?
    private(set) var report = OutboxPublisher.CloseReport()
    /// A session that was opened, until the loop takes it.
    private let opened = OpenedSession()

    init(
        store: any OutboxStore,
        destinations: [String: any OutboxDestination],
        configuration: OutboxPublisher.Configuration,
        logger: Logger,
        input: AsyncStream<PublisherState.Input>.Continuation,
        events: AsyncStream<OutboxPublisher.Event>.Continuation
    ) {
        self.store = store
        self.destinations = destinations
        self.logger = logger
        self.input = input
        self.events = events
        self.state = PublisherState(
            configuration.inRange,
            destinations: destinations.mapValues(\.maximumBatchCount),
            exactlyOnce: Set(destinations.filter { $0.value is any ExactlyOnceDestination }.keys),
            manyPlaces: Set(destinations.filter(\.value.hasManyPlaces).keys)
        )
        self.metrics = PublisherMetrics(destinations: Array(destinations.keys))
    }

    func run(_ inputs: AsyncStream<PublisherState.Input>) async -> Result<Void, OutboxError> {
        input.yield(.begin)
        for await next in inputs {
            await handle(next)
            if ending != nil { break }
        }
        // The stream of a task that was cancelled ends at once.
        if ending == nil { await handle(.end) }
        timer?.task.cancel()
        for task in publishing.values { task.cancel() }
        await releaseWriters(inputs)
        await endOpening()
        await session?.close()
        return ending ?? .success(())
    }

    /// A session that is opened while the publisher ends: it is closed here, or by the task that opens it, where that takes longer than a
    /// second, for a server that says nothing may be asked for minutes.
    private func endOpening() async {
        guard let opening else { return takeSession() }
        opening.cancel()
        let end = TimedWait<Void>()
        Task.detached {
            await opening.value
            end.resume(())
        }
        // Time is what is waited for: a server that stands still gives no sign.
        if await end.value(until: .now.advanced(by: .seconds(1))) == nil { opened.abandon() }
        takeSession()
    }

    /// Writers of slots that were taken over while the publisher ended: closed here, and by their tasks from now on.
    private func releaseWriters(_ inputs: AsyncStream<PublisherState.Input>) async {
        input.finish()
        for await next in inputs {
            if case .tookOver(_, let writer, _) = next { Task.detached { await writer.close() } }
        }
    }

    private func handle(_ next: PublisherState.Input) async {
        let now = ContinuousClock.now
        if case .opened = next { takeSession() }
        switch next {
        case .published(let ticket, _, _), .publishedOnce(let ticket, _), .tookOver(let ticket, _, _),
            .notTakenOver(let ticket, _):
            publishing[ticket] = nil
        default: break
        }
        for action in state.advance(next, at: now) { await perform(action) }
        setTimer(state.deadline(after: now))
    }

    private func perform(_ action: PublisherState.Action) async {
        switch action {
        case .open(let number, let after): open(number, after: after)
        case .balance(let busy):
            call { session, number async throws(OutboxError) in
                .balanced(try await session.balance(busy: busy), session: number)
            }
        case .leave(let busy):
            call { session, number async throws(OutboxError) in
                .balanced(try await session.leave(busy: busy), session: number)
            }
        case .maintain:
            call { session, number async throws(OutboxError) in
                .maintained(try await session.maintain(), session: number)
            }
        case .read(let ticket, let request):
            call { session, _ async throws(OutboxError) in .read(ticket, try await session.read(request)) }
        case .settle(let ticket, let settlement):
            call { session, _ async throws(OutboxError) in
                try await session.settle(settlement)
                return .settled(ticket)
            }
        case .wait(let duration):
            call { session, number async throws(OutboxError) in
                .waited(await session.waitForWork(atMost: duration), session: number)
            }
        case .publish(let ticket, let name, let batch): publish(ticket, name, batch)
        case .takeOver(let ticket, let name, let slot): takeOver(ticket, name, slot)
        case .note(let ticket, let inflight):
            call { session, _ async throws(OutboxError) in
                try await session.note(inflight)
                return .noted(ticket)
            }
        case .publishOnce(let ticket, let writer, let batch, let inflight):
            publishing[ticket] = Task.detached { [input] in
                input.yield(.publishedOnce(ticket, await writer.publish(batch, as: inflight)))
            }
        case .cancel(let ticket): publishing[ticket]?.cancel()
        case .release(let writer): Task.detached { await writer.close() }
        case .closeSession:
            let old = session
            session = nil
            await old?.close()
        case .tell(let event): tell(event)
        case .count(let destination, let batch, let outcomes):
            report.published += outcomes.count(where: \.isAccepted)
            metrics?.count(destination, batch, outcomes, inFlight: state.inFlight)
        case .fail(let error): ending = .failure(error)
        case .finish(let abandoned):
            report.abandoned = abandoned
            ending = .success(())
        }
    }

    /// Calls the session in a task of its own.
    private func call(
        _ body: @escaping @Sendable (any OutboxSession, Int) async throws(OutboxError) -> PublisherState.Input
    ) {
        guard let session else { return }
        let number = sessionNumber
        let input = input
        Task.detached {
            do throws(OutboxError) {
                input.yield(try await body(session, number))
            } catch {
                input.yield(.failed(error, session: number))
            }
        }
    }

    private func open(_ number: Int, after wait: Duration) {
        sessionNumber = number
        let store = store
        let input = input
        let opened = opened
        opening = Task.detached { await opened.open(store, number, after: wait, input) }
    }

    private func takeSession() {
        if let new = opened.take() { session = new }
    }

    private func publish(_ ticket: Int, _ name: String, _ batch: [OutboxEvent]) {
        guard let destination = destinations[name] else { return }
        let watchesPlaces = state.destinations.watchesPlaces(of: name)
        publishing[ticket] = Task.detached { [input] in
            let outcomes = await destination.publish(batch)
            var places: [String?] = []
            if destination.hasManyPlaces, watchesPlaces || outcomes.contains(where: { !$0.isVerdict }) {
                places = batch.map(destination.place(of:))
            }
            input.yield(.published(ticket, outcomes, places: places))
        }
    }

    private func takeOver(_ ticket: Int, _ name: String, _ slot: Int) {
        guard let session, let destination = destinations[name] as? any ExactlyOnceDestination else { return }
        let number = sessionNumber
        publishing[ticket] = Task.detached { [input] in
            do throws(OutboxError) {
                let last = try await session.lastInflight(slot: slot, destination: name)
                let writer: any ExactlyOnceWriter
                do throws(OutboxError) {
                    writer = try await destination.takeOver(slot: slot, destination: name, last: last)
                } catch {
                    input.yield(.notTakenOver(ticket, error))
                    return
                }
                if let last, last.number == writer.lastNumber {
                    do throws(OutboxError) {
                        try await session.conclude(last)
                    } catch {
                        await writer.close()
                        throw error
                    }
                }
                let start = PublisherBatchNumbers.start(after: max(last?.number ?? 0, writer.lastNumber))
                let result = input.yield(.tookOver(ticket, writer, last: start))
                if case .enqueued = result { return }
                await writer.close()
            } catch {
                input.yield(.failed(error, session: number))
                input.yield(.notTakenOver(ticket, error))
            }
        }
    }

    private func setTimer(_ deadline: ContinuousClock.Instant?) {
        guard deadline != timer?.deadline else { return }
        timer?.task.cancel()
        timer = deadline.map { deadline in
            let task = Task.detached { [input] in
                // Time is what is waited for: retries and beats are due at a time.
                guard (try? await Task.sleep(until: deadline.asDeadline, tolerance: .zero, clock: .continuous)) != nil
                else {
                    return
                }
                input.yield(.timer)
            }
            return (deadline, task)
        }
    }

    private func tell(_ event: OutboxPublisher.Event) {
        events.yield(event)
        metrics?.note(event)
        switch event {
        case .slots(let slots, let publishers):
            logger.info("outbox slots", metadata: ["slots": "\(slots.count)", "publishers": "\(publishers)"])
        case .sessionLost(let error):
            let level: Logger.Level = error.recovery == .fixRequest ? .error : .notice
            logger.log(level: level, "outbox session lost", metadata: ["error": "\(error)"])
        case .parked(let event, let reason, let attempts):
            report.parked += 1
            logger.warning(
                "outbox event parked",
                metadata: [
                    "destination": "\(event.message.destination)", "topic": "\(event.message.topic)",
                    "slot": "\(event.id.slot)", "id": "\(event.id.number)", "attempts": "\(attempts)",
                    "reason": "\(reason)",
                ]
            )
        case .destinationUnavailable(let name, let reason):
            logger.notice("outbox destination away", metadata: ["destination": "\(name)", "reason": "\(reason)"])
        case .destinationAvailable(let name):
            logger.info("outbox destination back", metadata: ["destination": "\(name)"])
        case .placeUnavailable(let place, let name, let reason):
            logger.notice(
                "outbox destination's place away",
                metadata: ["destination": "\(name)", "place": "\(place)", "reason": "\(reason)"]
            )
        case .placeAvailable(let place, let name):
            logger.info("outbox destination's place back", metadata: ["destination": "\(name)", "place": "\(place)"])
        case .unknownDestination(let name):
            logger.error(
                "outbox rows for a destination that this publisher does not have",
                metadata: ["destination": "\(name)"]
            )
        case .maintained(let found):
            if found.foundBelowFloor > 0 {
                logger.error("outbox rows below the floor", metadata: ["count": "\(found.foundBelowFloor)"])
            }
        }
    }
}

/// Between the task that opens a session and the loop.
private final class OpenedSession: Sendable {
    private struct State {
        var session: (any OutboxSession)?
        var isAbandoned = false
    }

    private let state = Mutex(State())

    func take() -> (any OutboxSession)? {
        state.withLock { $0.session.take() }
    }

    /// Nothing takes a session any more that is opened from now on.
    func abandon() {
        state.withLock { $0.isAbandoned = true }
    }

    func open(
        _ store: any OutboxStore,
        _ number: Int,
        after wait: Duration,
        _ input: AsyncStream<PublisherState.Input>.Continuation
    ) async {
        // Time is what is waited for: a database that is away does not say when it is back.
        if wait > .zero { try? await Task.sleep(for: wait) }
        guard !Task.isCancelled else { return }
        do throws(OutboxError) {
            let session: any OutboxSession = try await store.openSession()
            let isAbandoned = state.withLock { state in
                if !state.isAbandoned { state.session = session }
                return state.isAbandoned
            }
            if isAbandoned { return await session.close() }
            input.yield(.opened(keepAlive: session.keepAlive))
        } catch {
            input.yield(.failed(error, session: number))
        }
    }
}
