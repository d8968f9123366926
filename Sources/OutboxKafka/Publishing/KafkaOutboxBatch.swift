internal import KafkaDelivery
internal import OutboxDelivery

/// One batch on its way through a producer.
struct KafkaOutboxBatch {
    /// What has to be done beside taking note of the outcomes.
    struct Trouble {
        /// The producer goes on no more.
        var isProducerDone = false
        /// Refused with the batch that they travelled in, for another one's fault perhaps.
        var refusedTogether: Set<Int> = []
    }

    private let events: [OutboxEvent]

    init(_ events: [OutboxEvent]) {
        self.events = events
    }

    /// Sends all of them, and waits for their reports. Behind an event that is not stored none with its key is sent.
    func send(through producer: KafkaProducer) async -> ([OutboxOutcome], Trouble) {
        var outcomes = [OutboxOutcome](repeating: Self.waits, count: events.count)
        var trouble = Trouble()
        var stopped: Set<[UInt8]> = []
        for wave in Self.waves(events) { await send(wave, through: producer, &outcomes, &trouble, &stopped) }
        return (outcomes, trouble)
    }

    private static let waits = OutboxOutcome.unavailable(reason: "one with its key that comes before it is not stored")

    /// In which order: the events of a wave are on their way together, and a wave begins when the one before has its reports.
    ///
    /// Within a partition the producer keeps the order, and stores nothing behind a record that was refused. Two partitions know
    /// nothing of each other: an event whose key was last sent elsewhere waits for that. Nearly always there is one wave.
    ///
    /// - Returns: Indices.
    static func waves(_ events: [OutboxEvent]) -> [[Int]] {
        if let first = events.first,
            events.allSatisfy({ $0.message.topic == first.message.topic && $0.message.attributes.isEmpty })
        {
            return [Array(events.indices)]
        }
        var places: [[UInt8]: (topic: String, partition: String?, wave: Int)] = [:]
        var waves: [[Int]] = []
        for (index, event) in events.enumerated() {
            let message = event.message
            var wave = 0
            if let key = message.key {
                let partition = message.attributes["partition"]
                if let last = places[key] {
                    wave = last.topic == message.topic && last.partition == partition ? last.wave : last.wave + 1
                }
                places[key] = (message.topic, partition, wave)
            }
            while waves.count <= wave { waves.append([]) }
            waves[wave].append(index)
        }
        return waves
    }

    private func send(
        _ wave: [Int],
        through producer: KafkaProducer,
        _ outcomes: inout [OutboxOutcome],
        _ trouble: inout Trouble,
        _ stopped: inout Set<[UInt8]>
    ) async {
        var sends: [(index: Int, Result<KafkaProducer.PendingDelivery, KafkaError>)] = []
        sends.reserveCapacity(wave.count)
        for index in wave {
            if !stopped.isEmpty, let key = events[index].message.key, stopped.contains(key) { continue }
            do throws(KafkaError) {
                sends.append((index, .success(try await producer.enqueue(KafkaOutboxRecord.message(events[index])))))
            } catch {
                sends.append((index, .failure(error)))
                if let key = events[index].message.key { stopped.insert(key) }
            }
        }
        for (index, send) in sends {
            do throws(KafkaError) {
                outcomes[index] = .accepted(KafkaOutboxRecord.receipt(try await send.get().report))
            } catch {
                if error.recovery == .recreateClient, error.kind != .closed { trouble.isProducerDone = true }
                if error.kind == .batchRefused { trouble.refusedTogether.insert(index) }
                outcomes[index] = KafkaOutboxRecord.outcome(error)
                if let key = events[index].message.key { stopped.insert(key) }
            }
        }
    }
}
