/// What is written beside a partition's committed offset about the processes that began there: it outlives them.
///
/// Kafka keeps a text with each committed offset (`metadata` of OffsetCommit, at most `offset.metadata.max.bytes`, 4,096
/// by default). Ours reads `kafka-delivery/1 crashes=3 probe=42 suspects=17,29`, and what is zero or empty is left out, so
/// that a group in which nothing went wrong has no text at all. What other clients wrote there says nothing to us.
struct CrashRecord: Equatable, Sendable {
    /// How many processes began at this offset and got no further, so far as is known.
    var crashes = 0

    /// The message that was in hand, alone in the whole process.
    var probe: Int64?

    /// Messages that were in hand alone when a process died, and are not settled yet.
    var suspects: [Int64] = []

    static let none = CrashRecord()

    private static let version = "kafka-delivery/1"
    /// More is not kept: a text that is too long would be refused, and the offset with it.
    static let maximumSuspects = 64

    init(crashes: Int = 0, probe: Int64? = nil, suspects: [Int64] = []) {
        self.crashes = crashes
        self.probe = probe
        self.suspects = suspects
    }

    /// Reads what was committed. Another client's text, and a word that makes no sense, count as nothing.
    init(metadata: [UInt8]) {
        let words = String(decoding: metadata, as: UTF8.self).split(separator: " ")
        guard words.first == Self.version[...] else { return }
        for word in words.dropFirst() {
            let parts = word.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { continue }
            switch parts[0] {
            case "crashes": crashes = min(max(Int(parts[1]) ?? 0, 0), 1_000_000)
            case "probe": probe = Int64(parts[1]).flatMap { $0 >= 0 ? $0 : nil }
            case "suspects":
                let offsets = parts[1].split(separator: ",").compactMap { Int64($0) }.filter { $0 >= 0 }
                suspects = Array(Set(offsets).sorted().prefix(Self.maximumSuspects))
            // A later version's word.
            default: continue
            }
        }
    }

    /// What to commit.
    var metadata: [UInt8] {
        var words: [String] = []
        if crashes > 0 { words.append("crashes=\(crashes)") }
        if let probe { words.append("probe=\(probe)") }
        if !suspects.isEmpty {
            words.append("suspects=" + suspects.prefix(Self.maximumSuspects).map(String.init).joined(separator: ","))
        }
        return words.isEmpty ? [] : Array(([Self.version] + words).joined(separator: " ").utf8)
    }
}
