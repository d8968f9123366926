/// The sends of one `send(contentsOf:)`, in order.
struct BatchOfSends {
    typealias PendingDelivery = KafkaProducer.PendingDelivery

    private enum Piece {
        /// The first messages of a block.
        case block(SendBlock, count: Int, topics: Topics)
        /// One that waited for space.
        case one(PendingDelivery)
        case refused(KafkaError)
    }

    /// The topics of a block's messages: most batches have one.
    struct Topics {
        private var names: [(start: Int, name: String)] = []
        private var last = ""

        mutating func note(_ name: String, at index: Int) {
            guard name != last || names.isEmpty else { return }
            names.append((index, name))
            last = name
        }

        /// Calls `body` for each of the first messages with its topic.
        func forEach(_ count: Int, _ body: (Int, String) -> Void) {
            for (position, entry) in names.enumerated() {
                let end = position + 1 < names.count ? names[position + 1].start : count
                for index in entry.start..<end { body(index, entry.name) }
            }
        }
    }

    private let core: ProducerCore
    private let batch = PendingBatch()
    private var pieces: [Piece] = []
    /// Of messages.
    private var count = 0
    /// Of blocks and of messages that waited for space.
    private var awaitedCount = 0
    /// How many messages the next block is for.
    private var blockCapacity = SendBlock.maximumCapacity

    init(_ core: ProducerCore) {
        self.core = core
    }

    /// Hands messages over in their order, and waits for space where there is none.
    mutating func send(_ messages: some Sequence<KafkaMessage>) async {
        guard let handled = await sendInPlace(messages) else { return }
        var chunk: [KafkaMessage] = []
        for message in messages.dropFirst(handled) {
            chunk.append(message)
            guard chunk.count == SendBlock.maximumCapacity else { continue }
            _ = await sendInPlace(chunk)
            chunk.removeAll(keepingCapacity: true)
        }
        _ = await sendInPlace(chunk)
    }

    /// The same for an array, which is read where it is.
    ///
    /// - Returns: How many were handled, where the rest is not to be had like that; nil where that is all of them.
    private mutating func sendInPlace(_ messages: some Sequence<KafkaMessage>) async -> Int? {
        var next = 0
        while true {
            let step = messages.withContiguousStorageIfAvailable { messages -> Step in
                guard next < messages.count else { return .end }
                let handled = handOver(UnsafeBufferPointer(rebasing: messages[next...].prefix(blockCapacity)))
                next += handled.count
                if handled.isFull { return .wait(messages[next]) }
                return next < messages.count ? .goOn : .end
            }
            switch step {
            case nil: return next
            case .end: return nil
            case .goOn:
                // On the producer's thread no report is read meanwhile.
                if core.executor.isCurrent { await Task.yield() }
            case .wait(let message):
                do throws(KafkaError) {
                    pieces.append(.one(try await core.enqueueWithSpace(message, batch)))
                    awaitedCount += 1
                } catch {
                    pieces.append(.refused(error))
                }
                count += 1
                next += 1
            }
        }
    }

    private enum Step {
        case goOn
        case wait(KafkaMessage)
        case end
    }

    /// Hands messages over until one would have to wait for space.
    ///
    /// - Returns: How many were accepted or refused, and whether the next one has to wait.
    private mutating func handOver(_ messages: UnsafeBufferPointer<KafkaMessage>) -> (count: Int, isFull: Bool) {
        guard !core.waitQueue.hasSpaceWaiters else { return (0, true) }
        let block = SendBlock(capacity: messages.count, batch)
        var handOver = BatchHandOver(core, messages, block)
        handOver.begin()
        let handled = handOver.handled
        awaitedCount += 1
        let isFull = handled < messages.count
        // Where there is little room a block ends early, and the next one need not have slots for more.
        blockCapacity = isFull ? min(max(handled * 2, 16), SendBlock.maximumCapacity) : SendBlock.maximumCapacity
        if handled > 0 {
            pieces.append(.block(block, count: handled, topics: handOver.topics))
            count += handled
        }
        return (handled, isFull)
    }

    /// Waits for all of them, or until the task is cancelled. Called once.
    ///
    /// - Returns: For each message its report, or why there is none.
    consuming func results() async -> [Result<KafkaDeliveryReport, KafkaError>] {
        await batch.wait(for: awaitedCount)
        let unknown = Result<KafkaDeliveryReport, KafkaError>.failure(.cancelled(persistence: .possiblyPersisted))
        var results: [Result<KafkaDeliveryReport, KafkaError>] = []
        results.reserveCapacity(count)
        for piece in pieces {
            switch piece {
            case .block(let block, let count, let topics):
                topics.forEach(count) { results.append(block.promise($0).result($1) ?? unknown) }
            case .one(let pending): results.append(pending.resultNow ?? unknown)
            case .refused(let error): results.append(.failure(error))
            }
        }
        return results
    }
}
