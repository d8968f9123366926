import KafkaDeliveryTesting

/// What happens when a message is handled: always the same for a seed and a message.
enum Fate: Equatable {
    case succeeds
    case takes(milliseconds: Int)
    /// The first so many attempts fail.
    case fails(times: Int)
    /// Every attempt fails.
    case poisonous
    /// The handler does not return before it is cancelled.
    case hangs

    init(of message: String, seed: UInt64) {
        // FNV-1a: Swift's own hash is another in each process.
        let hash = message.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3 }
        var random = SeededGenerator(seed: seed ^ hash)
        self =
            switch Int.random(in: 0..<1_000, using: &random) {
            case ..<200: .takes(milliseconds: Int.random(in: 1...10, using: &random))
            case ..<250: .fails(times: Int.random(in: 1...2, using: &random))
            case ..<260: .poisonous
            case ..<264: .hangs
            default: .succeeds
            }
    }
}

extension SeededGenerator {
    /// Whether something happens that does in so many of a hundred cases.
    mutating func happens(in percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &self) < percent
    }
}
