import RabbitDelivery
import RabbitDeliveryTesting
import Testing

@Suite(.timeLimit(.minutes(5))) struct ConsumerTimeoutTests {
    @Test func aDeliveryThatIsHeldTooLongComesAgainOnANewChannelAndTheLoopGoesOn() async throws {
        var options = RabbitServer.Options()
        options.consumerTimeout = .seconds(10)
        let server = try await RabbitServer.start(options)
        let place = try await Place.make(on: server)
        try await place.send(["slow"])
        let consumer = try place.consumer()
        let events = consumer.events
        var iterator = consumer.deliveries.makeAsyncIterator()
        let held = try #require(try await iterator.next())
        for await event in events {
            if case .channelClosed(let error) = event {
                #expect(error.code == 406 && error.recovery == .retry)
                break
            }
        }
        let again = try #require(try await iterator.next())
        #expect(again.text == "slow" && again.generation == held.generation + 1)
        again.acknowledge()
        held.acknowledge()
        let summary = await consumer.close()
        #expect(summary.lateVerdicts == 1)
        #expect(try await place.messageCount() == 0)
    }
}
