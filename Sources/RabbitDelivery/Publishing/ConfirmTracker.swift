internal import DequeModule

/// What was published on a channel and is not confirmed: which outcome belongs to which message. A value without threads.
///
/// Numbers are the channel's own: the broker counts what is published on it from 1. Its answers come in any order, many at a
/// time, more than once, and late (RabbitMQ, "Publisher Confirms").
struct ConfirmTracker {
    /// How one message ended.
    struct Resolution {
        let send: QueuedSend
        let sequence: UInt64
        let outcome: Outcome
    }

    enum Outcome {
        case confirmed
        case nacked
        case returned(code: Int, text: String)
    }

    private enum Entry {
        /// Without an outcome; with what the broker said of it where it came back.
        case waiting(QueuedSend, returned: (code: Int, text: String)?)
        /// Its time was over before the broker answered.
        case expired
        /// The broker has answered.
        case answered

        /// The message that has no outcome.
        var send: QueuedSend? {
            if case .waiting(let send, _) = self { send } else { nil }
        }
    }

    private var entries: Deque<Entry> = []
    /// The number of the first entry.
    private var first: UInt64 = 1
    /// How many of the first entries were looked at for their deadlines.
    private var expired = 0
    /// How many the broker has not answered, though their time was over.
    private(set) var unanswered = 0

    /// How many the broker has not answered.
    var count: Int { entries.count }

    /// Whether nothing waits for the broker's answer.
    var isEmpty: Bool { entries.isEmpty }

    /// The number the next message will have.
    var nextSequence: UInt64 { first + UInt64(entries.count) }

    /// The oldest message without an outcome.
    var oldest: QueuedSend? { entries.lazy.compactMap(\.send).first }

    /// A message was encoded.
    mutating func add(_ send: QueuedSend) {
        entries.append(.waiting(send, returned: nil))
    }

    /// The broker answered.
    ///
    /// - Parameter multiple: Whether the answer is for all up to this number; all there are, where it is 0.
    mutating func answer(_ sequence: UInt64, multiple: Bool, isAck: Bool, _ resolved: inout [Resolution]) {
        if multiple {
            let last = sequence == 0 ? nextSequence &- 1 : sequence
            while first <= last, let entry = entries.popFirst() {
                resolve(entry, first, isAck, &resolved)
                first += 1
                expired = max(expired - 1, 0)
            }
            return
        }
        guard let index = index(of: sequence) else { return }
        resolve(entries[index], sequence, isAck, &resolved)
        entries[index] = .answered
        while case .answered = entries.first {
            entries.removeFirst()
            first += 1
            expired = max(expired - 1, 0)
        }
    }

    private mutating func resolve(_ entry: Entry, _ sequence: UInt64, _ isAck: Bool, _ resolved: inout [Resolution]) {
        switch entry {
        case .waiting(let send, let returned):
            let outcome: Outcome =
                if let returned {
                    .returned(code: returned.code, text: returned.text)
                } else {
                    isAck ? .confirmed : .nacked
                }
            resolved.append(Resolution(send: send, sequence: sequence, outcome: outcome))
        case .expired: unanswered -= 1
        case .answered: break
        }
    }

    /// A message came back. Its confirmation is still to come.
    mutating func noteReturn(_ sequence: UInt64, code: Int, text: String) {
        guard let index = index(of: sequence), case .waiting(let send, _) = entries[index] else { return }
        entries[index] = .waiting(send, returned: (code, text))
    }

    /// Takes the messages whose time is over. The broker's answers to them, should they come, are ignored.
    mutating func expire(at now: Moment, _ late: inout [QueuedSend]) {
        while expired < entries.count {
            if let send = entries[expired].send {
                // Deadlines are in order: all messages have the same time.
                guard send.deadline <= now else { return }
                late.append(send)
                entries[expired] = .expired
                unanswered += 1
            }
            expired += 1
        }
    }

    /// When ``expire(at:_:)`` has something to do.
    var nextDeadline: Moment? {
        entries.dropFirst(expired).lazy.compactMap(\.send).first?.deadline
    }

    /// The channel is gone: what had no outcome. The next channel counts from 1 again.
    mutating func removeAll() -> [QueuedSend] {
        defer { self = ConfirmTracker() }
        return entries.compactMap(\.send)
    }

    private func index(of sequence: UInt64) -> Int? {
        guard sequence >= first, sequence < nextSequence else { return nil }
        return Int(sequence - first)
    }
}
