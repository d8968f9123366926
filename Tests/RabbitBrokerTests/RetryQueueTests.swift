import RabbitDelivery
import RabbitDeliveryTesting
import Testing

/// What becomes of messages on their way through retry queues.
@Suite(.timeLimit(.minutes(5))) struct RetryQueueTests {
    @Test(arguments: [RabbitTopology.Queue.Kind.classic, .quorum])
    func aMessageThatHadExpiredInItsQueueBeforeComesBackAndIsNotTakenForACycle(_ kind: RabbitTopology.Queue.Kind)
        async throws
    {
        var place = try await Place.make()
        let dead = place.queue + "-dead"
        place.topology.queues.append(.init(dead))
        let publisher = try place.publisher()
        var message = RabbitMessage(queue: place.queue, body: "moved back by hand")
        // As a shovel leaves it that took it out of a queue of dead letters.
        message.properties.headers = [
            "x-death": [
                [
                    "queue": .string(place.queue), "reason": "expired", "count": 2, "exchange": "",
                    "routing-keys": [.string(place.queue)],
                ]
            ],
            "x-first-death-queue": .string(place.queue), "x-first-death-reason": "expired",
            "x-first-death-exchange": "",
        ]
        try await publisher.send(message)
        let consumer = try place.consumer()
        let loop = Task {
            try await consumer.forEach(
                retry: .none,
                retryQueues: RabbitRetryQueues([.milliseconds(100)], kind: kind, through: publisher),
                deadLetters: .publish(to: "", routingKey: dead, through: publisher)
            ) { _ in throw Broken() }
        }
        let letter = try #require(try await place.drain(1, of: dead).first?.deadLetter)
        #expect(letter.attempts == 2)
        #expect(letter.deaths.map(\.queue) == [place.queue + "-retry-100ms", place.queue])
        #expect(letter.deaths.map(\.count) == [1, 2])
        await consumer.close()
        try await loop.value
        await publisher.close()
    }
}

extension FaultTests {
    @Test func aMessageStaysInItsRetryQueueWhileItsQueueIsFullAndRefuses() async throws {
        let server = try await Self.server()
        // How long the broker waits before it tries the way back again; three minutes by default.
        _ = try await server.evaluate("application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 500).")
        var place = try await Place.make(on: server)
        place.topology.queues[0].maximumLength = 1
        place.topology.queues[0].refusesWhenFull = true
        let publisher = try place.publisher()
        try await publisher.send(RabbitMessage(queue: place.queue, body: "it is full"))
        let retries = RabbitRetryQueues([.milliseconds(50)], through: publisher)
        let declaring = try RabbitPublisher(
            .init(place.broker, topology: retries.topology(for: place.queue)),
            logger: quiet
        )
        let retry = RabbitRetryQueues.name(of: .milliseconds(50), for: place.queue)
        try await declaring.send(RabbitMessage(queue: retry, body: "waits"))
        // Its time is over when it is not ready any more: the broker has tried to send it back, and was refused.
        let ready =
            "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"\(place.broker.virtualHost)\">>, queue, <<\"\(retry)\">>)),"
            + " {ok, N, _} = rabbit_amqqueue:stat(Q), {ready, N}."
        while try await server.evaluate(ready).filter({ !$0.isWhitespace }).contains("{ready,0}") == false {}
        #expect(try await place.drain(2).map(\.text) == ["it is full", "waits"])
        await declaring.close()
        await publisher.close()
    }
}
