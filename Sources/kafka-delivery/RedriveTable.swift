import KafkaDelivery

/// Dead letters as a table: where each is, where it came from, and why, or what became of it.
struct RedriveTable {
    /// A row, as text.
    struct Row: Sendable, Equatable {
        let partition: Int
        let offset: Int64
        let letter: String
        let original: String
        let when: String
        let attempts: String
        let result: String
        let isGood: Bool
        let error: String
    }

    private struct Column {
        let cell: KeyPath<Row, String>
        var width = 0
    }

    /// Fewer columns of the error than these are worse than one column less before it.
    private static let leastError = 24

    /// All but the error, which takes what is left.
    private let before: [Column]
    private let isDry: Bool
    /// How wide the terminal is; nil where nothing has to be cut.
    private let columns: Int?
    private let style: Style

    init(_ rows: [Row], isDry: Bool, columns: Int?, style: Style) {
        self.isDry = isDry
        self.columns = columns
        self.style = style
        let cells: [KeyPath<Row, String>] =
            isDry ? [\.letter, \.original, \.when, \.attempts] : [\.letter, \.original, \.result]
        var before = cells.map { cell in
            Column(cell: cell, width: ([Self.titles] + rows).map { $0[keyPath: cell].count }.max() ?? 0)
        }
        // The least important first.
        for expendable: KeyPath<Row, String> in [\.attempts, \.when] {
            let width = before.reduce(0) { $0 + $1.width + 2 }
            guard let columns, columns - width < Self.leastError else { break }
            before.removeAll { $0.cell == expendable }
        }
        self.before = before
    }

    var heading: String {
        style.dim(text(Self.titles)) + "\n"
    }

    func line(_ row: Row) -> String {
        let text = text(row)
        return (row.isGood ? text : style.red(text)) + "\n"
    }

    private static let titles = Row(
        partition: 0,
        offset: 0,
        letter: "letter",
        original: "original",
        when: "when",
        attempts: "attempts",
        result: "redriven to",
        isGood: true,
        error: "error"
    )

    private func text(_ row: Row) -> String {
        let cells = before.map { column in
            let cell = row[keyPath: column.cell]
            return cell + String(repeating: " ", count: max(column.width - cell.count, 0)) + "  "
        }
        // In a preview the reason why not stands where the error does.
        let error = isDry && !row.isGood ? "\(row.result): \(row.error)" : row.error
        let line = cells.joined() + error
        guard let columns, line.count > columns else { return line }
        return String(line.prefix(max(columns - 1, 0))) + "…"
    }
}

extension RedriveTable.Row {
    init(_ letter: KafkaRedrive.Letter, _ outcome: KafkaRedrive.Outcome) {
        let dead = letter.deadLetter
        let (result, isGood) = Self.result(outcome)
        self.init(
            partition: letter.partition,
            offset: letter.offset,
            letter: "\(letter.partition):\(letter.offset)",
            original: dead.map { Self.place($0.originalTopic, $0.originalPartition, $0.originalOffset) } ?? "–",
            when: letter.originalTimestamp.map(Self.time) ?? "–",
            attempts: dead?.attempts.map { "\($0)" } ?? "–",
            result: result,
            isGood: isGood,
            error: Self.why(outcome, dead)
        )
    }

    private static func result(_ outcome: KafkaRedrive.Outcome) -> (String, isGood: Bool) {
        switch outcome {
        case .redriven(let report): (place(report.topic, report.partition, report.offset), true)
        case .selected(let topic): (topic.withoutControls, true)
        case .refused: ("left, refused", false)
        case .failed: ("not confirmed", false)
        case .left(.filtered): ("filtered", false)
        case .left(.notADeadLetter): ("left", false)
        case .left(.redrivenTooOften): ("left, redriven too often", false)
        case .left(.wouldReturn): ("left, would return here", false)
        }
    }

    private static func place(_ topic: String, _ partition: Int, _ offset: Int64) -> String {
        "\(topic.withoutControls) [\(partition)] at \(offset)"
    }

    /// To the second, in UTC.
    private static func time(_ timestamp: KafkaTimestamp) -> String {
        let text = ISO8601.text(millisecondsSince1970: timestamp.millisecondsSince1970)
        return text.split(separator: ".").first.map { "\($0)Z" } ?? text
    }

    /// Why it is a dead letter; or why it is to stay one.
    private static func why(_ outcome: KafkaRedrive.Outcome, _ letter: KafkaDeadLetter?) -> String {
        if case .refused(let error) = outcome { return error.sentence.withoutControls }
        return letter.map(error) ?? "no headers of a dead letter"
    }

    /// The type without the module, and what it said.
    private static func error(_ letter: KafkaDeadLetter) -> String {
        let type = letter.exceptionType?.split(separator: ".").last.map(String.init)
        // Many messages begin with their type; once is enough.
        let message = letter.exceptionMessage
        if let type, let message, message.hasPrefix(type) { return message.withoutControls }
        return [type, message].compactMap(\.self).joined(separator: ": ").withoutControls
    }
}

extension String {
    /// What came with a message may say anything, also to a terminal: control characters become spaces.
    var withoutControls: String {
        String(String.UnicodeScalarView(unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }
}

/// A dead letter and what became of it, as one line of JSON.
enum RedriveEnvelope {
    static func bytes(of letter: KafkaRedrive.Letter, _ outcome: KafkaRedrive.Outcome) -> [UInt8] {
        var writer = JSONWriter()
        writer.raw("{\"topic\":")
        writer.string(letter.message.topic)
        writer.raw(",\"partition\":\(letter.partition),\"offset\":\(letter.offset),")
        writer.field("key", letter.message.key)
        writer.raw(",\"original\":")
        if let dead = letter.deadLetter {
            writer.raw("{\"topic\":")
            writer.string(dead.originalTopic)
            writer.raw(",\"partition\":\(dead.originalPartition),\"offset\":\(dead.originalOffset),\"timestamp\":")
            writer.text(letter.originalTimestamp.map { ISO8601.text(millisecondsSince1970: $0.millisecondsSince1970) })
            writer.raw(",\"group\":")
            writer.text(dead.originalConsumerGroup)
            writer.raw("},\"attempts\":\(dead.attempts.map { "\($0)" } ?? "null"),\"error\":{\"type\":")
            writer.text(dead.exceptionType)
            writer.raw(",\"message\":")
            writer.text(dead.exceptionMessage)
            writer.raw("}")
        } else {
            writer.raw("null,\"attempts\":null,\"error\":null")
        }
        writer.raw(",\"redriven\":\(letter.redriveCount),\"outcome\":")
        append(outcome, to: &writer)
        writer.raw("}\n")
        return writer.bytes
    }

    private static func append(_ outcome: KafkaRedrive.Outcome, to writer: inout JSONWriter) {
        switch outcome {
        case .redriven(let report):
            writer.raw("\"redriven\",\"replay\":{\"topic\":")
            writer.string(report.topic)
            writer.raw(",\"partition\":\(report.partition),\"offset\":\(report.offset)}")
        case .selected(let topic):
            writer.raw("\"selected\",\"replay\":{\"topic\":")
            writer.string(topic)
            writer.raw("}")
        case .left(let reason):
            writer.raw("\"left\",\"reason\":")
            writer.string(reason.rawValue)
        case .refused(let error):
            writer.raw("\"refused\",\"reason\":")
            writer.string(error.sentence)
        case .failed(let error):
            writer.raw("\"failed\",\"reason\":")
            writer.string(error.sentence)
        }
    }
}
