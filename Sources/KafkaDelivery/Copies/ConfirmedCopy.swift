/// Publishes what becomes of a delivery elsewhere, as a dead letter or for a later attempt: the original is settled only when
/// its copy is confirmed.
struct ConfirmedCopy: Sendable {
    let producer: KafkaProducer

    typealias Outcome = CopyOutcome<KafkaDeliveryReport, KafkaMessage, KafkaError>

    /// Sends a message and waits until the broker has confirmed it: to another partition than its own where the topic does not
    /// have that one, and with fewer headers where it is refused with all of them.
    func send(_ copy: MessageCopy) async -> Outcome {
        var shedding = MessageCopy.Shedding.nothing
        var message = copy.message()
        while true {
            do throws(KafkaError) {
                if let error = KafkaMessage.refusal(ofTopic: message.topic) { throw error }
                return .stored(try await producer.sendByItself(message))
            } catch {
                if Task.isCancelled { return .cancelled }
                if error.kind == .unknownTopicOrPartition, message.partition != nil {
                    // The topic has fewer partitions.
                    message.partition = nil
                    continue
                }
                guard error.isOfMessageItself else { return .failed(error) }
                guard let next = copy.next(after: shedding) else {
                    return .refused(error, message)
                }
                shedding = next
                message.headers = copy.message(without: shedding).headers
            }
        }
    }
}
