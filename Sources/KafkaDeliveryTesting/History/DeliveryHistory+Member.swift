public import KafkaDelivery

extension DeliveryHistory.Recorder {
    /// A consumer whose deliveries are recorded, from now on.
    ///
    /// - Parameters:
    ///   - name: Its name, which no other consumer of the history has.
    ///   - order: In which order its deliveries are recorded.
    ///   - maximumAttempts: After how many attempts it gives a message up; nil where it never does.
    public func member(
        _ name: String,
        order: DeliveryHistory.Order,
        maximumAttempts: Int? = nil
    ) -> DeliveryHistory.Member {
        record(.joined(order, maximumAttempts: maximumAttempts), by: name)
        return DeliveryHistory.Member(name: name, recorder: self)
    }

    /// Sends a message, and records that and what came of it. Its value has to be text that no other message has.
    ///
    /// - Parameters:
    ///   - message: The message.
    ///   - producer: What sends it.
    ///   - process: Who sends it.
    /// - Returns: What the producer returns.
    /// - Throws: What the producer throws.
    @discardableResult
    public func send(
        _ message: KafkaMessage,
        through producer: KafkaProducer,
        by process: String = "producer"
    ) async throws(KafkaError) -> KafkaDeliveryReport {
        let value = message.value?.historyText ?? ""
        record(.sending(value: value, key: message.key?.historyText), by: process)
        do throws(KafkaError) {
            let report = try await producer.send(message)
            let partition = KafkaTopicPartition(topic: report.topic, partition: report.partition)
            record(.sent(value: value, at: report.hasOffset ? .init(partition, report.offset) : nil), by: process)
            return report
        } catch {
            record(.sendFailed(value: value, mayBeStored: error.persistence != .notPersisted), by: process)
            throw error
        }
    }
}

extension DeliveryHistory {
    /// A consumer whose deliveries are recorded. See ``Recorder/member(_:order:maximumAttempts:)``.
    public struct Member: Sendable {
        /// The consumer's name.
        public let name: String

        let recorder: Recorder

        /// Records a delivery, handles it, and records whether that succeeded: for a handler of `forEach`, where returning
        /// acknowledges, throwing does the opposite, and cancellation does neither.
        ///
        /// - Parameters:
        ///   - delivery: What was handed over.
        ///   - body: The handler.
        /// - Throws: What the handler throws.
        public func handling(
            _ delivery: KafkaConsumer.Delivery,
            _ body: () async throws -> Void
        ) async throws {
            delivered(delivery)
            do {
                try await body()
            } catch {
                if !Task.isCancelled { failing(delivery) }
                throw error
            }
            acknowledging(delivery)
        }

        /// Records that a message is transformed. To be called by the transformation of
        /// `KafkaConsumer.transform(through:)`, before it returns; nothing else of such a delivery is recorded by its consumer.
        public func transforming(_ delivery: KafkaConsumer.Delivery) {
            recorder.record(
                .transforming(
                    Attempt(delivery),
                    value: delivery.value?.historyText ?? "",
                    key: delivery.key?.historyText
                ),
                by: name
            )
        }

        /// Records that a message was handed over.
        public func delivered(_ delivery: KafkaConsumer.Delivery) {
            recorder.record(
                .delivered(
                    Attempt(delivery),
                    value: delivery.value?.historyText ?? "",
                    key: delivery.key?.historyText
                ),
                by: name
            )
        }

        /// Records that a message is about to be acknowledged. To be called before that.
        public func acknowledging(_ delivery: KafkaConsumer.Delivery) {
            recorder.record(.acknowledged(Attempt(delivery)), by: name)
        }

        /// Records that handling a message failed. To be called before it is negatively acknowledged.
        public func failing(_ delivery: KafkaConsumer.Delivery) {
            recorder.record(.failed(Attempt(delivery)), by: name)
        }

        /// Records what the consumer says of itself, until it is closed.
        ///
        /// - Parameter events: The consumer's events, asked for before its first loop begins.
        public func watch(_ events: KafkaConsumer.Events) async {
            for await event in events {
                switch event {
                case .assigned(let partitions, let generation):
                    recorder.record(.assigned(partitions, generation: generation), by: name)
                case .revoked(let partitions, let unsettled):
                    recorder.record(.revoked(partitions, unsettled: unsettled), by: name)
                case .lost(let partitions, _):
                    recorder.record(.lost(partitions), by: name)
                case .commitFailed(let partitions, _):
                    recorder.record(.commitFailed(partitions), by: name)
                case .deadLettered(let source, _):
                    recorder.record(.deadLettered(Position(source.partition, source.offset)), by: name)
                default:
                    break
                }
            }
        }
    }
}

extension DeliveryHistory.Attempt {
    /// This time that a message was handed over.
    public init(_ delivery: KafkaConsumer.Delivery) {
        let partition = KafkaTopicPartition(topic: delivery.topic, partition: delivery.partition)
        self.init(.init(partition, delivery.offset), generation: delivery.generation, attempt: delivery.attempt)
    }
}

extension KafkaBytes {
    /// All of the bytes as text: their `description` is shortened.
    var historyText: String {
        string ?? "0x" + array.map { String($0 >> 4, radix: 16) + String($0 & 0xF, radix: 16) }.joined()
    }
}
