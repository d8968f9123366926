/// The handing over of one block's messages to librdkafka: as many as there is space for, in one call where they go together
/// (``ProduceRun``). Used once.
struct BatchHandOver: ~Copyable {
    private let core: ProducerCore
    private let messages: UnsafeBufferPointer<KafkaMessage>
    /// For the outcomes, also of those that are refused.
    private let block: SendBlock
    private var run = ProduceRun()
    /// The topics of those that were handled.
    private(set) var topics = BatchOfSends.Topics()
    /// How many were accepted, or refused for good.
    private(set) var handled = 0
    private var accepted = 0
    /// Whether the next one has to wait.
    private var isFull = false

    /// - Parameters:
    ///   - messages: As many as the block has slots.
    ///   - block: One that no other task knows of yet.
    init(_ core: ProducerCore, _ messages: UnsafeBufferPointer<KafkaMessage>, _ block: SendBlock) {
        self.core = core
        self.messages = messages
        self.block = block
    }

    /// Hands messages to librdkafka, until one would have to wait for space.
    mutating func begin() {
        let isOpen = core.path.put(block)
        // By index: a loop over the messages would copy each.
        while handled < messages.count, !isFull {
            topics.note(messages[handled].topic, at: handled)
            do throws(KafkaError) {
                guard isOpen, !core.path.isClosed else { throw .closed() }
                let topic = try core.validTopic(of: messages[handled])
                if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
                if core.waitQueue.hasSpaceWaiters { break }
                try handOver(to: topic)
            } catch {
                block.promise(handled).resolve(error)
                handled += 1
            }
        }
        guard isOpen else {
            // No other task knows of it.
            return block.end()
        }
        let isPartly = accepted < messages.count
        if isPartly { core.waitQueue.withLock { _ = $0.refuse(block, count: messages.count - accepted) } }
        core.path.noteReturn()
        // It may have the reports of all others, and then a flush waits for this.
        if isPartly { core.queue.interrupt() }
    }

    /// Hands over the next message, with those after it that go together with it.
    private mutating func handOver(to topic: Unmanaged<RdKafkaTopic>?) throws(KafkaError) {
        let first = handled
        if core.stampsIdempotencyKey {
            let message = messages[first].stampedWithIdempotencyKey()
            note(core.produce(message, to: topic, block.promise(first).opaque), of: message)
            return
        }
        let block = block
        run.collect(messages, from: first) { block.promise($0).opaque }
        if run.count < 2 {
            note(core.produce(messages[first], to: topic, block.promise(first).opaque), of: messages[first])
        } else if let topic = topic ?? core.lookUpTopic(messages[first].topic) {
            handOverRun(to: topic)
        } else {
            throw core.refusal(.last, of: messages[first])
        }
    }

    private mutating func handOverRun(to topic: Unmanaged<RdKafkaTopic>) {
        let first = handled
        guard !topic._withUnsafeGuaranteedRef({ run.produce(to: $0) }) else {
            handled += run.count
            accepted += run.count
            return
        }
        for index in 0..<run.count where !isFull {
            note(run[index], of: messages[first + index])
        }
    }

    /// Notes what librdkafka said of the next message.
    private mutating func note(_ code: RdKafkaCode, of message: KafkaMessage) {
        switch code {
        case .success: accepted += 1
        case .queueFull:
            isFull = true
            return
        case let code where code.isUnknownTopicOrPartition:
            isFull = true
            return
        default: block.promise(handled).resolve(core.refusal(code, of: message))
        }
        handled += 1
    }
}
