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

    /// Sends all of them, and waits for their reports. Behind an event that the producer does not take none with its key is sent.
    func send(through producer: KafkaProducer) async -> ([OutboxOutcome], Trouble) {
        var sends: [Result<KafkaProducer.PendingDelivery, KafkaError>?] = []
        sends.reserveCapacity(events.count)
        var stopped: Set<[UInt8]> = []
        for event in events {
            if let key = event.message.key, !stopped.isEmpty, stopped.contains(key) {
                sends.append(nil)
                continue
            }
            do throws(KafkaError) {
                sends.append(.success(try await producer.enqueue(KafkaOutboxRecord.message(event))))
            } catch {
                sends.append(.failure(error))
                if let key = event.message.key { stopped.insert(key) }
            }
        }
        var trouble = Trouble()
        var outcomes: [OutboxOutcome] = []
        outcomes.reserveCapacity(events.count)
        for (index, send) in sends.enumerated() {
            do throws(KafkaError) {
                guard let send else {
                    outcomes.append(.unavailable(reason: "one with its key that comes before it is not stored"))
                    continue
                }
                let report = try await send.get().report
                outcomes.append(.accepted(KafkaOutboxRecord.receipt(report)))
            } catch {
                if error.recovery == .recreateClient, error.kind != .closed { trouble.isProducerDone = true }
                if error.kind == .batchRefused { trouble.refusedTogether.insert(index) }
                outcomes.append(KafkaOutboxRecord.outcome(error))
            }
        }
        return (outcomes, trouble)
    }
}
