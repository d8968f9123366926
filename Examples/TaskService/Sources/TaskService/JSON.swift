import Foundation
import KafkaDelivery

enum JSON {
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return try Array(encoder.encode(value))
    }
}

extension KafkaConsumer.Delivery {
    /// The event in it.
    var workEvent: WorkEvent {
        get throws { try JSONDecoder().decode(WorkEvent.self, from: Data(value?.array ?? [])) }
    }
}
