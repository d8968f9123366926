import Synchronization
import Testing

@testable import RabbitDelivery

@Suite struct DeliveryQueueTests {
    @Test func whatIsAcknowledgedWhenTheChannelIsBeingClosedIsLateAndNotCountedAsAcknowledged() throws {
        let consumer = try RabbitConsumer(.init(hosts: ["localhost"], queue: "any"))
        var queue = DeliveryQueue(isStream: false)
        queue.begin(ChannelGeneration(1, consumer.core))
        let content = ReceivedContent(properties: [], body: [])
        let deliveries = (1...2).map { tag in
            (ServerMethod.Deliver(tag: UInt64(tag), isRedelivered: false, exchange: "", routingKey: "any"), content)
        }
        #expect(try queue.add(deliveries).count == 0)
        let (one, other) = (queue.next(), queue.next())
        let first = try #require(try one?.get())
        let second = try #require(try other?.get())
        #expect(queue.acknowledge(first, at: .now, interval: .seconds(1)) == true)
        #expect(queue.takeLastAnswers() == [.ack(tag: 1, multiple: false)])
        // Its answer would be written behind the close, which the broker does not read on from.
        #expect(queue.acknowledge(second, at: .now, interval: .seconds(1)) == false)
        #expect(queue.reject(second, requeue: true) == false)
        #expect(queue.totals.acknowledged == 1 && queue.totals.late == 2)
        #expect(queue.takeLastAnswers() == [])
    }

    @Test func whatIsRejectedOnAChannelThatIsGoneIsNoDeadLetter() async throws {
        let consumer = try RabbitConsumer(.init(hosts: ["localhost"], queue: "any"))
        let deliver = ServerMethod.Deliver(tag: 1, isRedelivered: false, exchange: "", routingKey: "any")
        let content = ReceivedContent(properties: [], body: [])
        let handling = RabbitHandling(core: consumer.core, retryQueues: nil, deadLetters: .reject, attemptsInPlace: nil)
        var outcomes: [Bool] = []
        for isGone in [false, true] {
            let next = try consumer.core.queue.withLock { queue in
                queue.begin(ChannelGeneration(1, consumer.core))
                _ = try queue.add([(deliver, content)])
                return queue.next()
            }
            let delivery = RabbitConsumer.Delivery(try #require(try next?.get()))
            // Between the look at its channel and the verdict.
            if isGone { consumer.core.channelLost(.connectionLost("gone")) }
            let record = handling.record(NotFound(), of: delivery)
            switch await handling.publishDeadLetter(record, of: delivery) {
            case .stored(.rejected): outcomes.append(true)
            default: outcomes.append(false)
            }
            consumer.core.channelLost(.connectionLost("gone"))
        }
        #expect(outcomes == [true, false])
    }

    private struct NotFound: Error {}
}
