import KafkaDelivery
import ToolSupport

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

    private let table: TextTable
    private let isDry: Bool
    private let style: Style

    /// - Parameters:
    ///   - rows: What the columns' widths are made for.
    ///   - columns: How wide the terminal is; nil where nothing has to be cut.
    init(_ rows: [Row], isDry: Bool, columns: Int?, style: Style) {
        self.isDry = isDry
        self.style = style
        let before: [TextTable.Column] =
            isDry
            ? [
                .init("letter"), .init("original"), .init("when", expendability: 1),
                .init("attempts", expendability: 0),
            ]
            : [.init("letter"), .init("original"), .init("redriven to")]
        table = TextTable(
            columns: before + [.init("error")],
            rows: rows.map { Self.cells($0, isDry: isDry) },
            terminalColumns: columns
        )
    }

    var heading: String {
        style.dim(table.heading) + "\n"
    }

    func line(_ row: Row) -> String {
        let text = table.line(Self.cells(row, isDry: isDry))
        return (row.isGood ? text : style.red(text)) + "\n"
    }

    private static func cells(_ row: Row, isDry: Bool) -> [String] {
        guard isDry else { return [row.letter, row.original, row.result, row.error] }
        // In a preview the reason why not stands where the error does.
        let error = row.isGood ? row.error : "\(row.result): \(row.error)"
        return [row.letter, row.original, row.when, row.attempts, error]
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
            original: dead.map { Self.position($0.originalTopic, $0.originalPartition, $0.originalOffset) } ?? "–",
            when: letter.originalTimestamp.map(Self.time) ?? "–",
            attempts: dead?.attempts.map { "\($0)" } ?? "–",
            result: result,
            isGood: isGood,
            error: Self.why(outcome, dead)
        )
    }

    private static func result(_ outcome: KafkaRedrive.Outcome) -> (String, isGood: Bool) {
        switch outcome {
        case .redriven(let report): (position(report.topic, report.partition, report.offset), true)
        case .selected(let topic): (topic.withoutControls, true)
        case .refused: ("left, refused", false)
        case .failed: ("not confirmed", false)
        case .left(.filtered): ("filtered", false)
        case .left(.notADeadLetter): ("left", false)
        case .left(.redrivenTooOften): ("left, redriven too often", false)
        case .left(.wouldReturn): ("left, would return here", false)
        }
    }

    private static func position(_ topic: String, _ partition: Int, _ offset: Int64) -> String {
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
