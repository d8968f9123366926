/// What is written beside a partition's committed offset about the processes that began there: it outlives them.
///
/// Kafka keeps a text with each committed offset (`metadata` of OffsetCommit, at most `offset.metadata.max.bytes`, 4,096
/// by default). Ours reads `kafka-delivery/1 starts=3 trial=42 culprits=17,29`, and what is zero or empty is left out, so
/// that a group in which nothing went wrong has no text at all. What other clients wrote there says nothing to us.
struct StartNote: Equatable, Sendable {
    /// How many processes began at this offset and got no further, so far as is known.
    var starts = 0

    /// The message that was in hand, alone in the whole process.
    var trial: Int64?

    /// Messages that were in hand alone when a process died, and are not settled yet.
    var culprits: [Int64] = []

    static let none = StartNote()

    private static let version = "kafka-delivery/1"
    /// More is not kept: a text that is too long would be refused, and the offset with it.
    static let maximumCulprits = 64

    init(starts: Int = 0, trial: Int64? = nil, culprits: [Int64] = []) {
        self.starts = starts
        self.trial = trial
        self.culprits = culprits
    }

    /// Reads what was committed. Somebody else's text, and a word that makes no sense, count as nothing.
    init(metadata: [UInt8]) {
        let words = String(decoding: metadata, as: UTF8.self).split(separator: " ")
        guard words.first == Self.version[...] else { return }
        for word in words.dropFirst() {
            let parts = word.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { continue }
            switch parts[0] {
            case "starts": starts = min(max(Int(parts[1]) ?? 0, 0), 1_000_000)
            case "trial": trial = Int64(parts[1]).flatMap { $0 >= 0 ? $0 : nil }
            case "culprits":
                let offsets = parts[1].split(separator: ",").compactMap { Int64($0) }.filter { $0 >= 0 }
                culprits = Array(Set(offsets).sorted().prefix(Self.maximumCulprits))
            // A later version's word.
            default: continue
            }
        }
    }

    /// What to commit.
    var metadata: [UInt8] {
        var words: [String] = []
        if starts > 0 { words.append("starts=\(starts)") }
        if let trial { words.append("trial=\(trial)") }
        if !culprits.isEmpty {
            words.append("culprits=" + culprits.prefix(Self.maximumCulprits).map(String.init).joined(separator: ","))
        }
        return words.isEmpty ? [] : Array(([Self.version] + words).joined(separator: " ").utf8)
    }
}
