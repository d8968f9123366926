/// A message on its way to another topic, with headers of ours that say where it comes from and why; and what of those is
/// left out where the message does not fit with them.
///
/// The original fitted into its topic, and what was added may be too much. The message matters more than what is said of it;
/// key, value and the application's headers are never left out.
struct MessageCopy: Sendable {
    /// What is left out, in the order in which that is tried.
    enum Shedding: Int, Sendable {
        case nothing
        /// What the error said.
        case text
        /// All of ours that it can do without.
        case allButOrigin
    }

    /// The message without headers of ours. Its timestamp is that of its sending: with the original's, the topic's retention
    /// could delete it as soon as it is stored.
    private var bare: KafkaMessage
    private let own: KafkaHeaders
    private let text: String
    private let essential: Set<String>

    /// A dead letter.
    ///
    /// - Parameters:
    ///   - partition: Where it goes; nil lets the key decide.
    init(_ letter: KafkaDeadLetter, of content: KafkaMessage, to topic: String, partition: Int?) {
        let names = KafkaDeadLetter.Header.names
        self.init(content, topic, partition, letter.headers, names, essential: []) {
            KafkaDeadLetter.Header.isOurs($0)
        }
    }

    /// A message for a retry topic.
    init(_ retried: KafkaRetriedMessage, of content: KafkaMessage, to topic: String, partition: Int?) {
        typealias Header = KafkaRetriedMessage.Header
        // Without these it would not be one.
        self.init(content, topic, partition, retried.headers, Header.names, essential: [Header.attempts, Header.due]) {
            Header.isOurs($0)
        }
    }

    private init(
        _ content: KafkaMessage,
        _ topic: String,
        _ partition: Int?,
        _ own: KafkaHeaders,
        _ names: KafkaFailureOrigin.Names,
        essential: Set<String>,
        isReplaced: (String) -> Bool
    ) {
        self.bare = content
        self.bare.topic = topic
        self.bare.partition = partition
        self.bare.timestamp = nil
        self.bare.headers.removeAll { isReplaced($0.name) }
        self.own = own
        self.text = names.exceptionMessage
        self.essential = essential.union([names.topic, names.partition, names.offset])
    }

    /// Leaves out more headers: for what a message was before, and is not any more.
    mutating func remove(where isOld: (String) -> Bool) {
        bare.headers.removeAll { isOld($0.name) }
    }

    /// The message to send.
    func message(without shedding: Shedding = .nothing) -> KafkaMessage {
        var message = bare
        message.headers.append(contentsOf: own.lazy.filter { keeps($0.name, shedding) })
        return message
    }

    /// What to leave out next; nil where there is nothing more.
    func next(after shedding: Shedding) -> Shedding? {
        var next = Shedding(rawValue: shedding.rawValue + 1)
        while let candidate = next {
            if own.contains(where: { keeps($0.name, shedding) && !keeps($0.name, candidate) }) { return candidate }
            next = Shedding(rawValue: candidate.rawValue + 1)
        }
        return nil
    }

    private func keeps(_ name: String, _ shedding: Shedding) -> Bool {
        switch shedding {
        case .nothing: true
        case .text: name != text
        case .allButOrigin: essential.contains(name)
        }
    }
}
