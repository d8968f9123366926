import KafkaDelivery
import ToolSupport

/// A dead letter and what became of it, as one line of JSON.
enum RedriveEnvelope {
    static func bytes(of letter: KafkaRedrive.Letter, _ outcome: KafkaRedrive.Outcome) -> [UInt8] {
        var writer = JSONWriter()
        writer.raw("{\"topic\":")
        writer.string(letter.message.topic)
        writer.raw(",\"partition\":\(letter.partition),\"offset\":\(letter.offset),")
        writer.field("key", bytes: letter.message.key?.array)
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
