import KafkaDelivery
import KafkaDeliveryTesting
import ToolSupport

extension KafkaError {
    /// What happened, and librdkafka's name of it.
    var sentence: String {
        let reason = reason.replacing("cannot be among additionalProperties", with: "cannot be set with -X")
        return reason + (code.map { " (\($0))" } ?? "")
    }
}

extension KafkaError: ToolFailureConvertible {
    /// The library's error in the words of the command line.
    var toolFailure: ToolFailure { ToolFailure(sentence) }
}

extension MockCluster.Failure: ToolFailureConvertible {
    var toolFailure: ToolFailure { ToolFailure(description) }
}
