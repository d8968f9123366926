internal import DeliveryCore
public import Logging
public import ServiceLifecycle
internal import Synchronization

/// Publishes what services write into an outbox: reads committed rows, hands them to their destinations, and deletes them once they
/// are confirmed.
///
/// ```swift
/// let kafka = try KafkaOutboxDestination(.init(bootstrapServers: ["localhost:9092"]))
/// let publisher = OutboxPublisher(store: outbox, destinations: ["kafka": kafka])
/// let group = ServiceGroup(services: [publisher], gracefulShutdownSignals: [.sigterm], logger: logger)
/// try await group.run()
/// await kafka.close()
/// ```
///
/// - **No event is lost**: a row is deleted only when its destination has confirmed it. What was sent and could not be deleted is
///   sent again, with the same idempotency key.
/// - **In order for each key**: where one transaction was committed before another one appended, both with the same key, the first
///   one's event arrives first. A destination gets an event only when those before it with its key were confirmed or handed
///   to it in the same batch.
/// - **Several publishers share the work**: each has some of 32 slots, and a key belongs to one slot. What a publisher leaves behind,
///   however it ends, others take over.
/// - **A poison event stops its key only**: after its last attempt it is parked, and what follows with its key waits behind it until
///   a person decides (``OutboxAdministration/decide(_:_:)``). A destination that is away stops nothing but itself.
/// - **Bounded**: what is in memory is ``Configuration/maximumBatches`` batches for each destination, however much waits.
public final class OutboxPublisher: Service, Sendable {
    /// What became of the events that were under way at the end.
    public struct CloseReport: Sendable, Hashable {
        /// How many were confirmed in the publisher's life.
        public var published = 0
        /// How many were parked.
        public var parked = 0
        /// How many were at a destination when the time was over, and were not confirmed in a second or two after that: they are sent
        /// again by the next publisher.
        public var abandoned = 0

        /// Nothing.
        public init() {}
    }

    private struct Shared {
        var wasRun = false
        var isOver = false
        var report = CloseReport()
        var waiters: [CheckedContinuation<CloseReport, Never>] = []
        /// The earliest that was asked for.
        var deadline: (time: ContinuousClock.Instant, task: Task<Void, Never>)?
    }

    private let store: any OutboxStore
    private let destinations: [String: any OutboxDestination]
    private let configuration: Configuration
    private let logger: Logger
    private let inputs: AsyncStream<PublisherState.Input>
    private let input: AsyncStream<PublisherState.Input>.Continuation
    private let eventStream: AsyncStream<Event>
    private let eventInput: AsyncStream<Event>.Continuation
    // The task that runs it and those that close it meet here.
    private let shared = Mutex(Shared())

    /// A publisher. Does nothing until it runs.
    ///
    /// - Parameters:
    ///   - store: The database.
    ///   - destinations: By the name that is in the rows.
    ///   - configuration: The settings.
    ///   - logger: Where log lines go.
    public init(
        store: any OutboxStore,
        destinations: [String: any OutboxDestination],
        configuration: Configuration = Configuration(),
        logger: Logger = Logger(label: "OutboxDelivery")
    ) {
        self.store = store
        self.destinations = destinations
        self.configuration = configuration
        self.logger = logger
        // As many as there are actions under way, which the batches bound.
        (inputs, input) = AsyncStream.makeStream(of: PublisherState.Input.self)
        (eventStream, eventInput) = AsyncStream.makeStream(of: Event.self, bufferingPolicy: .bufferingNewest(1_000))
    }

    /// What a person may want to know, for one loop. Of what is not read the newest 1,000 are kept; it ends with the publisher.
    public var events: some AsyncSequence<Event, Never> & Sendable { eventStream }

    /// Publishes until the service group shuts down or the publisher is closed, then ends within ``Configuration/closeTimeout``.
    ///
    /// A database that goes away is waited for, with pauses of up to 5 seconds, for ever. Where rows can be read and not deleted, for the
    /// disk is full for instance, the pauses grow to half a minute, and each time one row of a destination is sent again until deleting
    /// works. Cancelling the task ends it at once: what is under way is
    /// sent again by the next publisher. One that was closed before returns at once.
    ///
    /// - Throws: ``OutboxError`` where the outbox cannot work as it is set up: no tables, or of another version, or a setting of the
    ///   database that breaks a promise; and where it was run before.
    public func run() async throws {
        let (isFirst, isOver) = shared.withLock { shared in
            defer { shared.wasRun = true }
            return (!shared.wasRun, shared.isOver)
        }
        guard isFirst else {
            throw OutboxError.invalidConfiguration("run a publisher once; make another one to publish again")
        }
        // Closed before it ran, by a signal for instance.
        if isOver { return }
        if !store.notesBatches, destinations.values.contains(where: { $0 is any ExactlyOnceDestination }) {
            end(CloseReport())
            throw OutboxError.notesNoBatches
        }
        let worker = PublisherWorker(
            store: store,
            destinations: destinations,
            configuration: configuration,
            logger: logger,
            input: input,
            events: eventInput
        )
        let result = await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await worker.run(inputs)
            } onGracefulShutdown: {
                self.beginClosing(within: self.configuration.closeTimeout)
            }
        } onCancel: {
            input.yield(.end)
        }
        end(worker.report)
        try result.get()
    }

    /// Reads nothing more, waits for what is under way, gives its slots back and ends.
    ///
    /// Meanwhile the session with the database is kept, so that what is confirmed is deleted; where it is lost, another one is opened for
    /// that, once. When the time is over the tasks of
    /// destinations are cancelled, and have a second to say what arrived, and another one for what is being deleted; where one does not
    /// its events count as abandoned: they are
    /// still in the outbox, and are sent again by the next publisher. Closing again is allowed; the earliest deadline counts.
    ///
    /// - Parameter timeout: How long to wait; zero cancels at once.
    /// - Returns: What became of it.
    @discardableResult
    public func close(within timeout: Duration = .seconds(30)) async -> CloseReport {
        beginClosing(within: timeout)
        return await withCheckedContinuation { continuation in
            let report: CloseReport? = shared.withLock { shared in
                if shared.isOver { return shared.report }
                shared.waiters.append(continuation)
                return nil
            }
            if let report { continuation.resume(returning: report) }
        }
    }

    private func beginClosing(within timeout: Duration) {
        input.yield(.close)
        let time = ContinuousClock.now + timeout.asWait
        let input = input
        let (surplus, endsHere): (Task<Void, Never>?, Bool) = shared.withLock { shared in
            if shared.isOver { return (nil, false) }
            guard shared.wasRun else {
                shared.isOver = true
                return (nil, true)
            }
            if let known = shared.deadline?.time, known <= time { return (nil, false) }
            let earlier = shared.deadline?.task
            shared.deadline = (
                time,
                Task.detached {
                    // Time is what is waited for: a destination that does not answer does not say so.
                    guard (try? await Task.sleep(until: time, tolerance: .zero)) != nil else { return }
                    input.yield(.closeNow)
                }
            )
            return (earlier, false)
        }
        surplus?.cancel()
        if endsHere { eventInput.finish() }
    }

    private func end(_ report: CloseReport) {
        let (waiters, deadline) = shared.withLock { shared in
            shared.isOver = true
            shared.report = report
            defer { shared.waiters = [] }
            return (shared.waiters, shared.deadline?.task)
        }
        deadline?.cancel()
        eventInput.finish()
        for waiter in waiters { waiter.resume(returning: report) }
    }
}

extension OutboxPublisher {
    /// The settings of a publisher. All have values; out of range counts as the nearest that is in it.
    public struct Configuration: Sendable {
        /// How often an event is tried again that its destination refused, and what becomes of it then.
        public var retry = OutboxRetry()

        /// How soon after something was published the publisher looks again by itself, 1 ms or more; the wait doubles up to
        /// ``maximumPollInterval``. Services that call `wake()` need neither.
        public var minimumPollInterval: Duration = .milliseconds(20)

        /// How long an idle publisher waits before it looks by itself, 1 ms or more: what a lost notification costs.
        public var maximumPollInterval: Duration = .seconds(1)

        /// How many batches may be under way for each destination, 1 or more.
        public var maximumBatches: Int = 4

        /// How many bytes a batch has, about, 1,000 or more; an event that is larger travels by itself.
        public var maximumBatchBytes: Int = 4_000_000

        /// How long a batch may be at its destination until the publisher gives it up, 1 ms or more: its task is cancelled, and what its
        /// destination then has no outcome for counts as unknown and is sent again, once the destination has returned: before, it could be
        /// sent beside itself. A destination that does not answer cancellation keeps its slots' rows. Where nothing of it arrived and there are other publishers, this one
        /// gives all its slots up to them, and stays away for as long, unless the destination has many places
        /// (``OutboxDestination/hasManyPlaces``), of which others may be there. Long, for what is on its way may arrive all the same, and
        /// then it is there twice; a destination's own time-outs should come first, but for those that cannot be short (Kafka's
        /// message time-out).
        public var batchTimeout: Duration = .seconds(300)

        /// How many keys of a slot may wait for a retry before the others of that slot wait, too; 1 or more. What one read brings comes on
        /// top, once.
        public var maximumWithheldKeys: Int = 1_000

        /// How long a graceful shutdown waits for what is under way.
        public var closeTimeout: Duration = .seconds(30)

        /// The default settings.
        public init() {}

        /// With everything in range.
        var inRange: Configuration {
            var copy = self
            copy.retry.maximumAttempts = max(retry.maximumAttempts, 1)
            copy.retry.delay = max(retry.delay.asWait, .milliseconds(1))
            copy.retry.maximumDelay = max(retry.maximumDelay.asWait, copy.retry.delay)
            copy.retry.unroutablePatience = retry.unroutablePatience.asWait
            copy.minimumPollInterval = max(minimumPollInterval.asWait, .milliseconds(1))
            copy.maximumPollInterval = max(maximumPollInterval.asWait, copy.minimumPollInterval)
            copy.maximumBatches = max(maximumBatches, 1)
            copy.maximumBatchBytes = max(maximumBatchBytes, 1_000)
            copy.batchTimeout = max(batchTimeout.asWait, .milliseconds(1))
            copy.maximumWithheldKeys = max(maximumWithheldKeys, 1)
            return copy
        }
    }

    /// What a person may want to know of a publisher.
    public enum Event: Sendable {
        /// It has these slots now, and shares them with so many publishers, itself included.
        case slots(Set<Int>, publishers: Int)
        /// The session with the database is gone; it opens another.
        case sessionLost(OutboxError)
        /// An event was given up and parked.
        case parked(OutboxEvent, reason: String, attempts: Int)
        /// A destination is away; its rows wait. Of one with many places (``OutboxDestination/hasManyPlaces``): ten batches in a row, and for
        /// half a minute or longer, had no verdict, so that no place is there of those that were asked; each is asked again by itself.
        case destinationUnavailable(String, reason: String)
        /// It is there again.
        case destinationAvailable(String)
        /// A place of a destination with many is away, as far as that names them (``OutboxDestination/place(of:)``): ten batches in a row with
        /// events for it, and for half a minute or longer, had no verdict on any. What is for it waits, each key for itself. Of a thousand
        /// places at a time.
        case placeUnavailable(String, destination: String, reason: String)
        /// It is there again: one of its events had a verdict.
        case placeAvailable(String, destination: String)
        /// There are rows for a destination that this publisher does not have; it does not publish them.
        case unknownDestination(String)
        /// What looking after the store found; about every second, and four times as often while there are rows.
        case maintained(OutboxMaintenance)
    }
}
