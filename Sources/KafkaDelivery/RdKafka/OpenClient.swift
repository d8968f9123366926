internal import Synchronization

/// What a producer or a consumer has of its client until it is closed: then it lets go, so that the client is destroyed
/// although the application keeps the producer or consumer.
final class OpenClient: Sendable {
    // The thread that lets go at its end, and tasks that call, meet here. Librdkafka is not called under it.
    private let held: Mutex<RdKafkaClient?>
    let end: ClientEnd

    init(_ client: RdKafkaClient) {
        self.held = Mutex(client)
        self.end = client.end
    }

    /// The client, to be held for a call; nil once it was let go of.
    var client: RdKafkaClient? { held.withLock { $0 } }

    /// Lets go of the client. It is destroyed when nothing else holds it: calls under way, and deliveries.
    func letGo() {
        var client = held.withLock { $0.take() }
        guard client != nil else { return }
        // Where this is the only reference no other can be made any more.
        end.noteLetGo(isHeld: !isKnownUniquelyReferenced(&client))
    }
}
