internal import Synchronization

/// What the user of a ``FaultRelay`` and its thread share.
final class FaultState: Sendable {
    typealias Faults = FaultRelay.Faults

    struct Shared {
        var faults: Faults
        var statistics = FaultRelay.Statistics()
        var generator: SeededGenerator
        /// How often all connections were cut by hand.
        var cuts = 0
        /// How often the answers of all connections were lost by hand, and how long requests pass since.
        var losses = 0
        var lossCutsAfter: Duration?
    }

    // Set by the test that uses the relay, read by its thread for each read of a connection.
    private let shared: Mutex<Shared>

    init(_ faults: Faults, seed: UInt64) {
        self.shared = Mutex(Shared(faults: faults, generator: SeededGenerator(seed: seed)))
    }

    func withLock<Result>(_ body: (inout sending Shared) -> sending Result) -> sending Result {
        shared.withLock(body)
    }
}

extension FaultState.Shared {
    /// A number of bytes with this mean, at least 1.
    mutating func drawBytes(mean: Int) -> Int {
        let uniform = Double.random(in: 0..<1, using: &generator)
        let drawn = -naturalLogarithm(1 - uniform) * Double(max(mean, 1))
        return drawn < 1e15 ? max(Int(drawn), 1) : Int(1e15)
    }

    mutating func drawJitter(upTo most: Duration) -> Duration {
        most > .zero ? most * Double.random(in: 0..<1, using: &generator) : .zero
    }

    mutating func drawLoss(probability: Double) -> Bool {
        probability > 0 && Double.random(in: 0..<1, using: &generator) < probability
    }
}
