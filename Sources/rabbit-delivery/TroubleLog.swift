import Logging
import Synchronization
import ToolSupport

/// Says why there is no connection, or why the broker takes nothing, each reason once until there is a connection again. A command that waits
/// for its broker would otherwise say nothing until its time is up, and `receive` never.
struct TroubleLog: LogHandler {
    /// What was said, whichever of a command's clients it was about: they are of one broker.
    private static let told = Mutex<Set<String>>([])

    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let what = "\(event.message)"
        switch what {
        case "no connection", "the connection ended": say(what, event.metadata?["error"], "; trying again")
        case "the broker takes no messages": say(what, event.metadata?["reason"], "; waiting")
        case "connected", "the broker takes messages again":
            let isNews = Self.told.withLock { sentences in
                defer { sentences = [] }
                return !sentences.isEmpty
            }
            if isNews { StandardError.say(what) }
        // A command says itself why it fails.
        default: break
        }
    }

    private func say(_ what: String, _ why: Logger.Metadata.Value?, _ end: String) {
        let sentence = "\(what): \(why.map { "\($0)" } ?? "no reason given")\(end)"
        if Self.told.withLock({ $0.insert(sentence).inserted }) { StandardError.say(sentence.withoutControls) }
    }
}
