import Logging
import Synchronization
import ToolSupport

/// Says what a client has trouble with, each kind of it once. For a client without events: a sender that cannot reach
/// its brokers would otherwise say nothing until its time is up.
struct TroubleLog: LogHandler {
    /// What was said, whichever copy of the handler said it.
    private final class Told: Sendable {
        let kinds = Mutex<Set<String>>([])
    }

    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]
    private let told = Told()

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        guard let error = event.metadata?["kafka_error"]?.description else { return }
        // After this it says how long it took, and how often it was not said.
        let kind = error.split(separator: " (after ").first.map(String.init) ?? error
        guard told.kinds.withLock({ $0.insert(kind).inserted }) else { return }
        StandardError.say(error)
    }
}
