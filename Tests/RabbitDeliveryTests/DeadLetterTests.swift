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

    @Test func whatTheBrokerSaidBeforeARetryQueueIsCountedWithWhatItSaysAfterwards() throws {
        let headers: RabbitTable = [
            "x-original-queue": "orders",
            "x-original-death": [
                [
                    "queue": "orders-retry-1s", "reason": "expired", "count": 1,
                    "time": .timestamp(.init(secondsSince1970: 5)),
                ],
                ["queue": "orders", "reason": "maxlen", "count": 3],
            ],
            "x-death": [
                [
                    "queue": "orders-retry-1s", "reason": "expired", "count": 2,
                    "time": .timestamp(.init(secondsSince1970: 9)),
                ],
                ["queue": "orders-retry-1s", "reason": "rejected", "count": .int64(.max)],
            ],
        ]
        let deaths = try #require(RabbitDeadLetter(headers)).deaths
        #expect(deaths.map(\.queue) == ["orders-retry-1s", "orders-retry-1s", "orders"])
        #expect(deaths.map(\.reason) == [.expired, .rejected, .maximumLength])
        #expect(deaths.map(\.count) == [3, .max, 3])
        #expect(deaths[0].time?.secondsSince1970 == 5)
    }

    @Test func rejectingNeedsABindingForTheKeysThatLettersHave() {
        var topology = RabbitTopology(
            exchanges: [.init("shop", .topic), .init("dlx", .direct)],
            queues: [.init("orders", deadLetterExchange: "dlx", deadLetterRoutingKey: "failed"), .init("dead")],
            bindings: [.init(queue: "dead", to: "dlx", routingKey: "orders")]
        )
        #expect(topology.rejectionFault(of: "orders")?.reason.contains("with the key failed") == true)
        // Without a key of its own a letter keeps that of its message: the queue's name, by the default exchange.
        topology.queues[0].deadLetterRoutingKey = nil
        #expect(topology.rejectionFault(of: "orders") == nil)
        topology.bindings.append(.init(queue: "orders", to: "shop", routingKey: "new.fruit"))
        #expect(topology.rejectionFault(of: "orders")?.reason.contains("with the key new.fruit") == true)
        for (pattern, isWay) in [
            ("new.*", true), ("#", true), ("#.fruit", true), ("new.#.fruit", true), ("*.*", true),
            ("new.fruit.#", true),
            ("*", false), ("new", false), ("new.*.fruit", false), ("", false), ("#.new", false), ("*.fruit.*", false),
        ] {
            topology.exchanges[1].kind = .topic
            topology.bindings[0].routingKey = pattern
            #expect((topology.rejectionFault(of: "orders") == nil) == isWay, "\(pattern)")
        }
        // What is routed nowhere goes on.
        topology.exchanges[1].arguments["alternate-exchange"] = "unrouted"
        #expect(topology.rejectionFault(of: "orders") == nil)
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
        // With both of these, and as a quorum queue, nothing is lost on the way back.
        #expect(topology.queues.allSatisfy { $0.kind == .quorum })
        #expect(topology.queues[0].allArguments["x-dead-letter-strategy"] == "at-least-once")
        #expect(topology.queues[0].allArguments["x-overflow"] == "reject-publish")
        #expect(RabbitRetryQueues([.seconds(1)], kind: .stream, through: publisher).fault(for: "o", .none) != nil)
        let endless = RabbitRetryQueues([.seconds(Int64.max)], through: publisher)
        #expect(endless.fault(for: "orders", .none)?.kind == .invalidConfiguration)
        #expect(endless.topology(for: "orders").fault?.kind == .invalidConfiguration)
        #expect(topology.queues[1].allArguments["x-message-ttl"] == 1_500)
        #expect(topology.queues[1].allArguments["x-dead-letter-routing-key"] == "orders")
        #expect(queues.fault(for: "orders", .none) == nil)
        #expect(queues.fault(for: "orders", .exponential(maximumAttempts: nil)) != nil)
        await publisher.close(within: .zero)
    }
}
