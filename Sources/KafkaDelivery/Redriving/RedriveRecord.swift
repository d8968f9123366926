/// Which messages of a dead-letter partition were redriven: all before an offset, and stretches behind it.
///
/// It is kept in the group's commit: the offset is what is committed, and the stretches are its metadata. So it survives
/// wherever the offset does, is written together with it, and costs no topic of its own.
struct RedriveRecord: Sendable, Hashable {
    /// Everything before this was redriven, or is gone.
    private(set) var base: Int64
    /// Redriven behind `base`: in order, apart from each other and from `base`.
    private(set) var stretches: [Range<Int64>] = []

    /// Brokers take 4,096 bytes of metadata where that was not changed (`offset.metadata.max.bytes`).
    static let maximumMetadataBytes = 4_000

    private static let prefix = "redriven-1:"

    init(base: Int64) {
        self.base = base
    }

    func contains(_ offset: Int64) -> Bool {
        if offset < base { return true }
        let index = firstIndex { $0.upperBound > offset }
        return index < stretches.count && stretches[index].contains(offset)
    }

    /// Notes that these were redriven.
    mutating func insert(_ range: Range<Int64>) {
        var lower = max(range.lowerBound, base)
        var upper = range.upperBound
        guard lower < upper else { return }
        let first = firstIndex { $0.upperBound >= lower }
        var end = first
        while end < stretches.count, stretches[end].lowerBound <= upper {
            lower = min(lower, stretches[end].lowerBound)
            upper = max(upper, stretches[end].upperBound)
            end += 1
        }
        stretches.replaceSubrange(first..<end, with: [lower..<upper])
        if lower == base {
            base = upper
            stretches.removeFirst()
        }
    }

    /// What is before this offset is not in the topic any more.
    mutating func forget(before offset: Int64) {
        insert(base..<max(offset, base))
    }

    /// The first stretch that something is so of, which is so of all later ones too.
    private func firstIndex(where isSo: (Range<Int64>) -> Bool) -> Int {
        var low = 0
        var high = stretches.count
        while low < high {
            let middle = (low + high) / 2
            if isSo(stretches[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

// MARK: As metadata

extension RedriveRecord {
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// The lengths of what was left and of what was redriven, in turn, beginning at `base`: five bits a digit, the lowest
    /// first, and a sixth that says that there are more. Empty where there are no stretches.
    var metadata: String {
        guard !stretches.isEmpty else { return "" }
        var bytes = Array(Self.prefix.utf8)
        var position = base
        for stretch in stretches {
            Self.append(stretch.lowerBound - position, to: &bytes)
            Self.append(stretch.upperBound - stretch.lowerBound, to: &bytes)
            position = stretch.upperBound
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func append(_ length: Int64, to bytes: inout [UInt8]) {
        var rest = length
        repeat {
            let hasMore = rest > 31
            bytes.append(digits[Int(rest & 31) + (hasMore ? 32 : 0)])
            rest >>= 5
        } while rest > 0
    }

    /// Whether it can be committed. Counted only where it may not: a stretch has at most 26 digits.
    var fits: Bool {
        stretches.count * 26 + Self.prefix.utf8.count <= Self.maximumMetadataBytes
            || metadata.utf8.count <= Self.maximumMetadataBytes
    }

    /// Without as many stretches, from the end, as it takes to be committed. What is forgotten is redriven again.
    var fitting: RedriveRecord {
        var record = self
        while !record.fits { record.stretches.removeLast() }
        return record
    }

    /// Reads what was committed; nil where the metadata is not a redrive's.
    init?(base: Int64, metadata: [UInt8]) {
        self.init(base: base)
        guard !metadata.isEmpty else { return }
        let prefix = Array(Self.prefix.utf8)
        guard metadata.starts(with: prefix) else { return nil }
        var lengths: [Int64] = []
        var length: Int64 = 0
        var shift: Int64 = 0
        for byte in metadata.dropFirst(prefix.count) {
            guard let digit = Self.digits.firstIndex(of: byte), shift < 60 else { return nil }
            length |= Int64(digit & 31) << shift
            shift += 5
            if digit & 32 == 0 {
                lengths.append(length)
                length = 0
                shift = 0
            }
        }
        guard shift == 0, lengths.count.isMultiple(of: 2) else { return nil }
        var position = base
        for (index, length) in lengths.enumerated() {
            let (next, isTooMuch) = position.addingReportingOverflow(length)
            guard length > 0, !isTooMuch else { return nil }
            if !index.isMultiple(of: 2) { stretches.append(position..<next) }
            position = next
        }
    }
}
