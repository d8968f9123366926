/// What a worker process is told to do.
struct Job: Codable, Sendable {
    var cell: Cell
    var side: Side
    var bootstrapServers: [String]
    var topics: [String]
    /// Of the worker alone, where it is a consumer.
    var group: String
    var countsAllocations: Bool
    /// Whether the cluster is a mock one, which keeps a fetch that finds nothing for its whole time.
    var isMock: Bool

    /// Where a fetch is held back for its whole time, end to end is measured with a short one, on both sides.
    var fetchWaitMilliseconds: Int {
        if case .endToEnd = cell.shape { isMock ? 2 : 40 } else { 40 }
    }
}

/// One side's way of doing a job.
protocol Worker {
    /// Connects, and does everything once that is slow the first time.
    mutating func prepare() async throws

    /// The round that is measured.
    mutating func run() async throws -> Sample

    func close() async
}

/// Why a worker or a cluster failed.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// The message bytes that both sides send.
enum Payload {
    static let keyCount = 1_024
    static let keySize = 8

    /// "00000000", "00000001", …
    static func key(_ index: Int) -> String {
        let digits = String(index)
        return String(repeating: "0", count: keySize - digits.count) + digits
    }

    /// Text that does not look the same everywhere, for brokers that compress.
    static func value(_ size: Int) -> [UInt8] {
        var state: UInt32 = 1
        return (0..<size).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(ascii: "a") + UInt8(state >> 24) % 26
        }
    }

    static let headerNames = ["header-0", "header-1", "header-2"]
    static let headerValue = "0123456789abcdef"
}
