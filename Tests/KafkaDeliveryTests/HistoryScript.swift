import KafkaDelivery
import KafkaDeliveryTesting

/// A history written by hand: each line happens one nanosecond after the one before.
struct HistoryScript {
    typealias Event = DeliveryHistory.Event

    static let partition = KafkaTopicPartition(topic: "orders", partition: 0)
    private(set) var records: [DeliveryHistory.Record] = []

    var history: DeliveryHistory { DeliveryHistory(records) }

    func anomalies(_ checker: DeliveryHistory.Checker = .init()) -> [DeliveryHistory.Anomaly] {
        checker.check(history)
    }

    var kinds: [DeliveryHistory.Anomaly.Kind] { anomalies().map(\.kind) }

    mutating func add(_ event: Event, by process: String = "observer") {
        records.append(.init(process: process, time: UInt64(records.count), event: event))
    }

    static func at(_ offset: Int64, _ number: Int = 0) -> DeliveryHistory.Position {
        .init(KafkaTopicPartition(topic: "orders", partition: number), offset)
    }

    /// Messages "0", "1" and so on, at the offsets of their numbers, confirmed.
    mutating func send(_ offsets: ClosedRange<Int64>, keys: [String?] = [nil]) {
        for offset in offsets {
            add(.sending(value: "\(offset)", key: keys[Int(offset) % keys.count]), by: "producer")
            add(.sent(value: "\(offset)", at: Self.at(offset)), by: "producer")
        }
    }

    mutating func join(_ process: String, _ order: DeliveryHistory.Order = .partition, maximumAttempts: Int? = nil) {
        add(.joined(order, maximumAttempts: maximumAttempts), by: process)
        add(.assigned([Self.partition], generation: 1), by: process)
    }

    private static func attempt(_ offset: Int64, _ number: Int, _ generation: Int) -> DeliveryHistory.Attempt {
        .init(at(offset), generation: generation, attempt: number)
    }

    mutating func deliver(
        _ offset: Int64,
        attempt: Int = 1,
        generation: Int = 1,
        key: String? = nil,
        to process: String
    ) {
        add(.delivered(Self.attempt(offset, attempt, generation), value: "\(offset)", key: key), by: process)
    }

    mutating func acknowledge(_ offset: Int64, attempt: Int = 1, generation: Int = 1, by process: String) {
        add(.acknowledged(Self.attempt(offset, attempt, generation)), by: process)
    }

    mutating func fail(_ offset: Int64, attempt: Int = 1, generation: Int = 1, by process: String) {
        add(.failed(Self.attempt(offset, attempt, generation)), by: process)
    }

    mutating func handle(_ offsets: ClosedRange<Int64>, by process: String, generation: Int = 1) {
        for offset in offsets {
            deliver(offset, generation: generation, to: process)
            acknowledge(offset, generation: generation, by: process)
        }
    }

    mutating func commit(_ offset: Int64) {
        add(.committed(Self.partition, offset: offset))
    }

    mutating func revoke(from process: String, unsettled: Int = 0) {
        add(.revoked([Self.partition], unsettled: unsettled), by: process)
    }
}
