/// Publishes what becomes of a delivery elsewhere, as a dead letter or for a later attempt: the original is settled only when
/// its copy is confirmed.
struct ConfirmedCopy: Sendable {
    let producer: KafkaProducer

    enum Outcome: Sendable {
        case stored(KafkaDeliveryReport)
        /// It is not confirmed, and may be later; or the producer is done, and another one may take it.
        case failed(KafkaError)
        /// It can never be stored, with all left out that can be.
        case refused(KafkaError, KafkaMessage)
        /// The task was cancelled.
        case cancelled
    }

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
