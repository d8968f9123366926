import Testing

@testable import KafkaDelivery

/// When a message that failed comes again, on a clock that the test moves.
@Suite(.timeLimit(.minutes(5)))
struct BackoffClockTests {
    private struct Failure: Error {}

    private struct Attempt: Hashable {
        let offset: Int64
        let attempt: Int
        let at: Duration
    }

    @Test func theSecondAttemptComesAfterASecondTheThirdAfterTwoAndThenItIsGivenUp() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        let letters = try await cluster.makeTopic(name: "letters")
        try await cluster.fill(topic, count: 2)
        let producer = try KafkaProducer(cluster.producerConfiguration(), logger: .test)
        let clock = TestClock()
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test, backoff: clock)
        let attempts = Shared<[Attempt]>([])
        let events = consumer.events
        async let handling: Void = consumer.forEach(
            retry: .exponential(initial: .seconds(1), multiplier: 2, maximum: .seconds(2), maximumAttempts: 3),
            deadLetters: KafkaDeadLetters(producer: producer, topicName: { _ in letters })
        ) { delivery in
            attempts.change {
                $0.append(Attempt(offset: delivery.offset, attempt: delivery.attempt, at: clock.elapsed))
            }
            if delivery.offset == 0 { throw Failure() }
        }
        var announced: [Duration] = []
        // A millisecond before its time nothing comes; when it does, it says at which time it came.
        for delay in [1_000, 2_000] {
            announced.append(
                try await events.first { event in
                    if case .retried(_, _, let after, _) = event { after } else { nil }
                }
            )
            try await clock.advance(by: .milliseconds(delay - 1), consumer)
            try await clock.advance(by: .milliseconds(1), consumer)
        }
        #expect(announced == [.seconds(1), .seconds(2)])
        try await events.first { if case .deadLettered = $0 { () } else { nil } }
        try await attempts.wait { $0.count == 4 }
        #expect(
            attempts.value == [
                Attempt(offset: 0, attempt: 1, at: .zero),
                Attempt(offset: 0, attempt: 2, at: .seconds(1)),
                Attempt(offset: 0, attempt: 3, at: .seconds(3)),
                Attempt(offset: 1, attempt: 1, at: .seconds(3)),
            ]
        )
        await consumer.close()
        try await handling
        await producer.close()
    }

    @Test func whatWasRejectedComesAgainInTheOrderOfThePartition() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await cluster.fill(topic, count: 5)
        let clock = TestClock()
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test, backoff: clock)
        let first = try await consumer.take(4)
        first[3].negativelyAcknowledge(after: .seconds(1))
        first[1].negativelyAcknowledge(after: .seconds(5))
        first[2].negativelyAcknowledge()
        first[0].acknowledge()
        let again = Shared<[Attempt]>([])
        let reading = Task {
            for try await delivery in consumer.deliveries {
                again.change {
                    $0.append(Attempt(offset: delivery.offset, attempt: delivery.attempt, at: clock.elapsed))
                }
                delivery.acknowledge()
                if delivery.offset == 4 { break }
            }
        }
        // The second has to come first, and is due last.
        for _ in 0..<5 { try await clock.advance(by: .seconds(1), consumer) }
        try await reading.value
        #expect(again.value.map(\.offset) == [1, 2, 3, 4])
        #expect(again.value.map(\.attempt) == [2, 2, 2, 1])
        #expect(again.value.allSatisfy { $0.at == .seconds(5) })
        await consumer.close()
    }

    @Test func aKeyThatBacksOffKeepsItsOrderAndHoldsNoOtherKeyBack() async throws {
        let cluster = try TestCluster()
        let topic = try await cluster.makeTopic()
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            for number in 0..<20 {
                try await producer.send(KafkaMessage(topic: topic, key: "\(number % 2)", value: "\(number)"))
            }
        }
        let clock = TestClock()
        let consumer = try KafkaConsumer(cluster.quickConsumer(topic), logger: .test, backoff: clock)
        let handled = Shared<[Attempt]>([])
        let events = consumer.events
        async let handling: Void = consumer.forEach(
            concurrency: .perKey(maximum: 4),
            retry: .fixed(.seconds(1), maximumAttempts: nil)
        ) { delivery in
            if delivery.offset == 4, delivery.attempt < 3 { throw Failure() }
            handled.change { $0.append(Attempt(offset: delivery.offset, attempt: delivery.attempt, at: clock.elapsed)) }
        }
        // The other key and what comes before it: all there is to do while it backs off.
        try await handled.wait { $0.count == 12 }
        for attempt in 2...3 {
            try await events.first { if case .retried(_, attempt, _, _) = $0 { () } else { nil } }
            #expect(handled.value.count == 12)
            try await clock.advance(by: .seconds(1), consumer)
        }
        try await handled.wait { $0.count == 20 }
        let even = handled.value.filter { $0.offset % 2 == 0 }
        #expect(even.map(\.offset) == Array(stride(from: 0, to: 20, by: 2)))
        #expect(even.first { $0.offset == 4 }?.attempt == 3)
        #expect(handled.value.filter { $0.offset % 2 == 1 }.allSatisfy { $0.at == .zero })
        await consumer.close()
        try await handling
    }
}
