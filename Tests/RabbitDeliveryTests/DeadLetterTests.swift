import Testing

@testable import RabbitDelivery

@Suite struct DeadLetterTests {
    @Test func whatTheBrokerSaysIsReadForEachReasonAndSeveralCycles() throws {
        let headers: RabbitTable = [
            "x-first-death-queue": "orders", "x-first-death-reason": "expired",
            "x-death": [
                [
                    "queue": "orders", "reason": "rejected", "count": 2, "exchange": "shop", "routing-keys": ["new"],
                    "time": .timestamp(.init(secondsSince1970: 7)),
                ],
                [
                    "queue": "wait", "reason": "expired", "count": 3, "exchange": "", "routing-keys": ["wait"],
                    "original-expiration": "500",
                ],
                ["queue": "q", "reason": "maxlen"], ["queue": "q", "reason": "delivery_limit"],
                ["queue": "q", "reason": "new"],
                "nonsense",
            ],
        ]
        let letter = try #require(RabbitDeadLetter(headers))
        #expect(
            letter.deaths.map { $0.reason } == [.rejected, .expired, .maximumLength, .deliveryLimit, .other("new")]
        )
        #expect(letter.deaths[0].count == 2)
        #expect(letter.deaths[0].time?.secondsSince1970 == 7)
        #expect(letter.deaths[1].originalExpiration == .milliseconds(500))
        #expect(letter.queue == "orders")
        #expect(RabbitDeadLetter(["x-other": 1]) == nil)
        // The usual wait queue: each count brings its entry to the front.
        let waited: RabbitTable = [
            "x-first-death-queue": "billing", "x-first-death-reason": "rejected",
            "x-death": [
                ["queue": "billing", "reason": "rejected", "count": 2, "exchange": "shop", "routing-keys": ["new"]],
                ["queue": "wait", "reason": "expired", "count": 1, "exchange": "waits", "routing-keys": ["wait"]],
            ],
        ]
        #expect(RabbitDeadLetter(waited)?.exchange == "shop")
        #expect(RabbitDeadLetter(waited)?.routingKey == "new")
    }

    @Test func rejectingNeedsAWayThatIsDeclared() {
        var topology = RabbitTopology(queues: [.init("orders")])
        #expect(topology.rejectionFault(of: "elsewhere") != nil)
        #expect(topology.rejectionFault(of: "orders")?.reason.contains("no dead-letter exchange") == true)
        topology.queues[0].deadLetterExchange = "dlx"
        #expect(topology.rejectionFault(of: "orders")?.reason.contains("does not declare dlx") == true)
        topology.exchanges = [.init("dlx", .fanout)]
        #expect(topology.rejectionFault(of: "orders")?.reason.contains("nothing is bound") == true)
        topology.queues.append(.init("dead"))
        topology.bindings = [.init(queue: "dead", to: "dlx")]
        #expect(topology.rejectionFault(of: "orders") == nil)
        topology.queues[0].deadLetterExchange = ""
        #expect(topology.rejectionFault(of: "orders") != nil)
        topology.queues[0].deadLetterRoutingKey = "dead"
        #expect(topology.rejectionFault(of: "orders") == nil)
    }

    @Test func aRetryQueueSendsBackWhatHasWaitedLongEnough() async throws {
        let publisher = try RabbitPublisher(.init(hosts: ["127.0.0.1:1"]))
        let queues = RabbitRetryQueues([.seconds(5), .milliseconds(1_500)], through: publisher)
        let topology = queues.topology(for: "orders")
        #expect(topology.queues.map(\.name) == ["orders-retry-5s", "orders-retry-1500ms"])
        #expect(topology.queues[1].allArguments["x-message-ttl"] == 1_500)
        #expect(topology.queues[1].allArguments["x-dead-letter-routing-key"] == "orders")
        #expect(queues.fault(for: "orders", .none) == nil)
        #expect(queues.fault(for: "orders", .exponential(maximumAttempts: nil)) != nil)
        await publisher.close(within: .zero)
    }
}
