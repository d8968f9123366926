/// The sends of one `send(contentsOf:)`, in order.
struct BatchOfSends {
    typealias PendingDelivery = KafkaProducer.PendingDelivery

    private enum Piece {
        /// The first messages of a part.
        case part(BatchPart, count: Int, topics: Topics)
        /// One that waited for room.
        case one(PendingDelivery)
        case refused(KafkaError)
    }

    /// The topics of a part's messages: most batches have one.
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
    private var count = 0

    init(_ core: ProducerCore) {
        self.core = core
    }

    /// Hands messages over in their order, and waits for room where there is none.
    mutating func send(_ messages: some Sequence<KafkaMessage>) async {
        if await sendInPlace(messages) { return }
        var chunk: [KafkaMessage] = []
        for message in messages {
            chunk.append(message)
            guard chunk.count == BatchPart.maximumCount else { continue }
            _ = await sendInPlace(chunk)
            chunk.removeAll(keepingCapacity: true)
        }
        _ = await sendInPlace(chunk)
    }

    /// The same for an array, which is read where it is; false where it is not one.
    private mutating func sendInPlace(_ messages: some Sequence<KafkaMessage>) async -> Bool {
        var next = 0
        while true {
            // All of it, or up to one that has to wait.
            let waiting = messages.withContiguousStorageIfAvailable { messages -> KafkaMessage? in
                while next < messages.count {
                    let rest = UnsafeBufferPointer(rebasing: messages[next...].prefix(BatchPart.maximumCount))
                    let accepted = handOver(rest)
                    next += accepted
                    if accepted < rest.count { return messages[next] }
                }
                return nil
            }
            guard let waiting else { return false }
            guard let message = waiting else { return true }
            do throws(KafkaError) {
                pieces.append(.one(try await core.enqueueWithRoom(message, batch)))
            } catch {
                pieces.append(.refused(error))
            }
            count += 1
            next += 1
        }
    }

    /// Hands messages over until one would have to wait for room.
    ///
    /// - Returns: How many were accepted or refused.
    private mutating func handOver(_ messages: UnsafeBufferPointer<KafkaMessage>) -> Int {
        guard !core.ledger.isCrowded else { return 0 }
        let part = BatchPart(count: messages.count, batch)
        var topics = Topics()
        let handled = core.handOver(messages, part, &topics)
        pieces.append(.part(part, count: handled, topics: topics))
        count += handled
        return handled
    }

    /// Waits for all of them, or until the task is cancelled. Called once.
    ///
    /// - Returns: For each message its report, or why there is none.
    consuming func results() async -> [Result<KafkaDeliveryReport, KafkaError>] {
        let awaited = pieces.count { if case .refused = $0 { false } else { true } }
        await batch.wait(for: awaited)
        let unknown = Result<KafkaDeliveryReport, KafkaError>.failure(.cancelled(persistence: .possiblyPersisted))
        var results: [Result<KafkaDeliveryReport, KafkaError>] = []
        results.reserveCapacity(count)
        for piece in pieces {
            switch piece {
            case .part(let part, let count, let topics):
                topics.forEach(count) { results.append(part.result(at: $0, topic: $1) ?? unknown) }
            case .one(let pending): results.append(pending.resultNow ?? unknown)
            case .refused(let error): results.append(.failure(error))
            }
        }
        return results
    }
}
