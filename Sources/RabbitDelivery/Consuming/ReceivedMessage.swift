internal import Synchronization

/// One attempt at a message that was received.
final class ReceivedMessage: Sendable {
    enum Verdict: UInt8, AtomicRepresentable {
        case none
        case acknowledged
        /// Handed over again after a while.
        case backsOff
        /// Back in the queue, or at the broker's dead-letter exchange.
        case rejected
    }

    let channel: ChannelGeneration
    let deliver: ServerMethod.Deliver
    let content: ReceivedContent
    let attempt: Int
    let verdict = Atomic(Verdict.none)
    /// Whether the application holds it, for closing to wait for: set once it is handed out.
    private let isInHand = Atomic(false)

    init(_ channel: ChannelGeneration, _ deliver: ServerMethod.Deliver, _ content: ReceivedContent, attempt: Int = 1) {
        self.channel = channel
        self.deliver = deliver
        self.content = content
        self.attempt = attempt
    }

    deinit {
        if isInHand.load(ordering: .relaxed) { channel.core?.released(self) }
    }

    func handOut() { isInHand.store(true, ordering: .relaxed) }

    /// The first verdict counts.
    func settle(_ new: Verdict) -> VerdictEffect {
        let (isFirst, before) = verdict.compareExchange(
            expected: .none,
            desired: new,
            ordering: .acquiringAndReleasing
        )
        if isFirst { return .settled }
        return before == new ? .repeated : .contradicted
    }

    /// The same message, to be handed over once more.
    func again(countingAttempt: Bool) -> ReceivedMessage {
        ReceivedMessage(channel, deliver, content, attempt: attempt + (countingAttempt ? 1 : 0))
    }

    /// Decoded at each call: most handlers read the body alone.
    var properties: RabbitProperties {
        let pool = AMQPPool()
        return content.properties.withUnsafeBytes { RabbitProperties(decoding: $0, pool: pool) }
    }
}

/// One channel of a consumer's life. Deliveries know theirs, and the broker's numbers count within it alone.
final class ChannelGeneration: DeliverySource {
    let number: Int
    private let weakCore: WeakCore

    /// The consumer keeps deliveries, and they know it.
    private final class WeakCore: Sendable {
        weak let core: ConsumerCore?
        init(_ core: ConsumerCore) { self.core = core }
    }

    init(_ number: Int, _ core: ConsumerCore) {
        self.number = number
        weakCore = WeakCore(core)
    }

    var core: ConsumerCore? { weakCore.core }

    func isCurrent(_ sequence: DeliverySequence) -> Bool {
        core?.isCurrent(number, sequence) ?? false
    }
}
