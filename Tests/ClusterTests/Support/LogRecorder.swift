import Logging

/// A logger that keeps what it is told, for tests about what is said.
struct LogRecorder: LogHandler {
    struct Line: Sendable {
        let level: Logger.Level
        let message: String
        /// What librdkafka says, in a line of its own.
        let text: String
    }

    let lines: Shared<[Line]>
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let text = event.metadata?["kafka_text"].map { "\($0)" } ?? ""
        let line = Line(level: event.level, message: "\(event.message)", text: text)
        lines.change { $0.append(line) }
    }

    static func logger() -> (Logger, Shared<[Line]>) {
        let lines = Shared<[Line]>([])
        return (Logger(label: "test", factory: { _ in LogRecorder(lines: lines) }), lines)
    }
}
