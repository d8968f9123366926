/// Why a message is a dead letter of which no handler could say anything: the process that handled it died each time.
///
/// Found only where ``KafkaConsumer/Configuration/maximumCrashes`` is set. Its bytes are unchanged; it was not handed to the handler again.
public struct KafkaPoisonMessage: PermanentFailure, Hashable, CustomStringConvertible {
    /// How many processes had begun with this message in their way and died, when it was found. The one in which it was
    /// handed out alone is the last of them.
    public let crashes: Int

    /// What happened, in a sentence.
    public var description: String {
        "The process died each time while it handled this message: \(crashes) began with it and got no further"
    }
}
