import KafkaDelivery
import ToolSupport

/// Why a message was not confirmed.
enum SendFailure: Error {
    /// The line is no message. It was not sent.
    case line(MessageTemplate.Failure)
    /// The file could not be read. It was not sent.
    case file(String)
    case kafka(KafkaError)

    /// Which failures are counted as one.
    fileprivate var group: String {
        switch self {
        case .line(let failure): "\(failure)"
        case .file(let reason): reason
        case .kafka(let error): "\(error.kind) \(error.code ?? "")"
        }
    }

    var sentence: String {
        switch self {
        case .line(let failure): failure.sentence
        case .file(let reason): reason
        case .kafka(let error): error.sentence
        }
    }

    /// Whether the message may be stored all the same.
    var isPossiblyStored: Bool {
        if case .kafka(let error) = self { error.persistence == .possiblyPersisted } else { false }
    }

    /// Whether every other message of this run would fail like this one.
    var concernsAll: Bool {
        guard case .kafka(let error) = self else { return false }
        if error.recovery == .recreateClient { return true }
        return switch error.kind {
        case .brokersUnreachable, .unknownTopicOrPartition, .authentication, .authorization: true
        default: false
        }
    }
}

/// Which failures there were, how often, and where first.
struct SendTally {
    private struct Entry {
        var count: Int
        let sentence: String
        let first: InputPlace
        let order: Int
    }

    /// Kinds of failure that are told apart; the rest is counted together. There are few, but a broker may invent some.
    private static let maximumKinds = 16

    private var entries: [String: Entry] = [:]
    private(set) var failed = 0
    private(set) var possiblyStored = 0

    /// Counts a failure.
    ///
    /// - Returns: Whether it is the first of its kind.
    mutating func add(_ failure: SendFailure, at place: InputPlace) -> Bool {
        failed += 1
        if failure.isPossiblyStored { possiblyStored += 1 }
        let hasRoom = entries.count < Self.maximumKinds
        let group = hasRoom || entries[failure.group] != nil ? failure.group : ""
        let sentence = group.isEmpty ? "other failures" : failure.sentence
        let new = Entry(count: 0, sentence: sentence, first: place, order: entries.count)
        entries[group, default: new].count += 1
        return entries[group]?.count == 1
    }

    /// One line for each kind, the most frequent first.
    var lines: [String] {
        let sorted = entries.values.sorted { ($1.count, $0.order) < ($0.count, $1.order) }
        let width = sorted.first.map { $0.count.grouped.count } ?? 0
        return sorted.map { entry in
            let number = entry.count.grouped
            let padding = String(repeating: " ", count: width - number.count)
            return "  \(padding)\(number) × \(entry.sentence); first at \(entry.first)"
        }
    }
}
