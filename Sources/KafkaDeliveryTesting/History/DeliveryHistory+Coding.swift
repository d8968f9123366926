internal import KafkaDelivery

extension DeliveryHistory.Record: Codable {
    /// A record as it is written: one flat object, whatever the event, so that `grep` and `jq` find their way.
    fileprivate struct Line: Codable {
        var time: UInt64
        var process: String
        var event: Name
        var topic: String?
        var partition: Int?
        var offset: Int64?
        /// Several partitions, with a topic for each.
        var topics: [String]?
        var partitions: [Int]?
        var value: String?
        var key: String?
        var generation: Int?
        var attempt: Int?
        var mayBeStored: Bool?
        var order: DeliveryHistory.Order?
        var maximumAttempts: Int?
        var unsettled: Int?
        var originalTopic: String?
        var originalPartition: Int?
        var originalOffset: Int64?
    }

    fileprivate enum Name: String, Codable {
        case sending, sent, sendFailed, joined, assigned, delivered, acknowledged, failed, deadLettered, revoked, lost
        case commitFailed, committed, stored, deadLetter, transforming, output
    }

    /// Writes a flat object with the event's name in `event`.
    public func encode(to encoder: any Encoder) throws {
        var line = Line(time: time, process: process, event: .sending)
        switch event {
        case .sending(let value, let key):
            (line.value, line.key) = (value, key)
        case .sent(let value, let position):
            line.event = .sent
            line.value = value
            line.position = position
        case .sendFailed(let value, let mayBeStored):
            line.event = .sendFailed
            (line.value, line.mayBeStored) = (value, mayBeStored)
        case .joined(let order, let maximumAttempts):
            line.event = .joined
            (line.order, line.maximumAttempts) = (order, maximumAttempts)
        case .assigned(let partitions, let generation):
            line.event = .assigned
            line.list = partitions
            line.generation = generation
        case .delivered(let attempt, let value, let key):
            line.event = .delivered
            line.handedOver = attempt
            (line.value, line.key) = (value, key)
        case .acknowledged(let attempt):
            line.event = .acknowledged
            line.handedOver = attempt
        case .failed(let attempt):
            line.event = .failed
            line.handedOver = attempt
        case .deadLettered(let position):
            line.event = .deadLettered
            line.position = position
        case .revoked(let partitions, let unsettled):
            line.event = .revoked
            line.list = partitions
            line.unsettled = unsettled
        case .lost(let partitions):
            line.event = .lost
            line.list = partitions
        case .commitFailed(let partitions):
            line.event = .commitFailed
            line.list = partitions
        case .committed(let partition, let offset):
            line.event = .committed
            line.position = .init(partition, offset)
        case .stored(let position, let value, let key):
            line.event = .stored
            line.position = position
            (line.value, line.key) = (value, key)
        case .deadLetter(let original, let position, let value):
            line.event = .deadLetter
            line.position = position
            line.original = original
            line.value = value
        case .transforming(let attempt, let value, let key):
            line.event = .transforming
            line.handedOver = attempt
            (line.value, line.key) = (value, key)
        case .output(let original, let position, let value):
            line.event = .output
            line.position = position
            line.original = original
            line.value = value
        }
        try line.encode(to: encoder)
    }

    /// Reads what ``encode(to:)`` writes.
    public init(from decoder: any Decoder) throws {
        let line = try Line(from: decoder)
        func need<Value>(_ value: Value?, _ name: String) throws -> Value {
            guard let value else {
                throw DecodingError.dataCorrupted(
                    .init(codingPath: decoder.codingPath, debugDescription: "a \(line.event) record without \(name)")
                )
            }
            return value
        }
        func position() throws -> DeliveryHistory.Position { try need(line.position, "its position") }
        func attempt() throws -> DeliveryHistory.Attempt { try need(line.handedOver, "its attempt") }
        func list() throws -> [KafkaTopicPartition] { try need(line.list, "its partitions") }
        func value() throws -> String { try need(line.value, "its value") }
        let event: DeliveryHistory.Event =
            switch line.event {
            case .sending: .sending(value: try value(), key: line.key)
            case .sent: .sent(value: try value(), at: line.position)
            case .sendFailed:
                .sendFailed(value: try value(), mayBeStored: try need(line.mayBeStored, "mayBeStored"))
            case .joined: .joined(try need(line.order, "its order"), maximumAttempts: line.maximumAttempts)
            case .assigned: .assigned(try list(), generation: try need(line.generation, "its generation"))
            case .delivered: .delivered(try attempt(), value: try value(), key: line.key)
            case .acknowledged: .acknowledged(try attempt())
            case .failed: .failed(try attempt())
            case .deadLettered: .deadLettered(try position())
            case .revoked: .revoked(try list(), unsettled: try need(line.unsettled, "unsettled"))
            case .lost: .lost(try list())
            case .commitFailed: .commitFailed(try list())
            case .committed: .committed(try position().partition, offset: try position().offset)
            case .stored: .stored(try position(), value: try value(), key: line.key)
            case .deadLetter:
                .deadLetter(of: try need(line.original, "its original"), at: try position(), value: try value())
            case .transforming: .transforming(try attempt(), value: try value(), key: line.key)
            case .output: .output(of: try need(line.original, "its original"), at: try position(), value: try value())
            }
        self.init(process: line.process, time: line.time, event: event)
    }
}

extension DeliveryHistory.Record.Line {
    fileprivate var position: DeliveryHistory.Position? {
        get {
            guard let topic, let partition, let offset else { return nil }
            return .init(KafkaTopicPartition(topic: topic, partition: partition), offset)
        }
        set {
            (topic, partition, offset) = (newValue?.partition.topic, newValue?.partition.partition, newValue?.offset)
        }
    }

    fileprivate var original: DeliveryHistory.Position? {
        get {
            guard let originalTopic, let originalPartition, let originalOffset else { return nil }
            return .init(KafkaTopicPartition(topic: originalTopic, partition: originalPartition), originalOffset)
        }
        set {
            originalTopic = newValue?.partition.topic
            originalPartition = newValue?.partition.partition
            originalOffset = newValue?.offset
        }
    }

    fileprivate var handedOver: DeliveryHistory.Attempt? {
        get {
            guard let position, let generation, let attempt else { return nil }
            return .init(position, generation: generation, attempt: attempt)
        }
        set { (position, generation, attempt) = (newValue?.position, newValue?.generation, newValue?.attempt) }
    }

    fileprivate var list: [KafkaTopicPartition]? {
        get {
            guard let topics, let partitions, topics.count == partitions.count else { return nil }
            return zip(topics, partitions).map { KafkaTopicPartition(topic: $0, partition: $1) }
        }
        set { (topics, partitions) = (newValue?.map(\.topic), newValue?.map(\.partition)) }
    }
}
