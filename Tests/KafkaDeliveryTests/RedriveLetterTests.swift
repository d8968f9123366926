import Testing

@testable import KafkaDelivery

/// Which dead letters are redriven, and what their replays look like.
struct RedriveLetterTests {
    private func letter(
        key: KafkaBytes? = "k",
        value: KafkaBytes? = "v",
        offset: Int64 = 42,
        _ more: KafkaHeaders = []
    ) -> KafkaRedrive.Letter {
        var headers: KafkaHeaders = [
            "trace": "a", "trace": "b", "empty": [], "null": nil, "binary": [0, 0xFF],
            "kafka_dlt-original-topic": "orders",
            "kafka_dlt-original-partition": [0, 0, 0, 7],
            "kafka_dlt-original-offset": [0, 0, 0, 0, 0, 0, 0, 9],
            "kafka_dlt-original-timestamp": [0, 0, 0, 0, 0, 0, 0x03, 0xE8],
            "kafka_dlt-exception-fqcn": "Shop.CardDeclined",
            "kafka_dlt-exception-message": "declined by the bank",
            "kafka_dlt-exception-stacktrace": "…",
            "kafka_deliveryAttempt": [0, 0, 0, 3],
            "retry_topic-attempts": [0, 0, 0, 3],
        ]
        headers.append(contentsOf: more)
        let message = KafkaMessage(
            topic: "orders-dlt",
            partition: 2,
            key: key,
            value: value,
            headers: headers,
            timestamp: KafkaTimestamp(millisecondsSince1970: 2_000)
        )
        return KafkaRedrive.Letter(partition: 2, offset: offset, message: message)
    }

    private var configuration: KafkaRedrive.Configuration { .init(bootstrapServers: ["a:1"], topic: "orders-dlt") }

    private func decide(
        _ letter: KafkaRedrive.Letter,
        _ change: (inout KafkaRedrive.Configuration) -> Void = { _ in }
    ) -> String {
        var configuration = configuration
        change(&configuration)
        switch letter.decide(configuration) {
        case .success(let topic): return topic
        case .failure(let left): return left.reason.rawValue
        }
    }

    @Test func aReplayIsTheOriginalAndSaysOnlyHowOftenItWasRedriven() {
        let replay = letter().replay(to: "orders", configuration.timestamps)
        #expect(replay.topic == "orders")
        #expect(replay.key == "k")
        #expect(replay.value == "v")
        #expect(replay.timestamp == nil, "the time of its sending")
        #expect(
            replay.headers == [
                "trace": "a", "trace": "b", "empty": [], "null": nil, "binary": [0, 0xFF],
                "kafka_delivery-original-timestamp": [0, 0, 0, 0, 0, 0, 0x03, 0xE8],
                "kafka_delivery-redrive-count": [0, 0, 0, 1],
            ]
        )
        #expect(
            letter().replay(to: "orders", .original).timestamp == KafkaTimestamp(millisecondsSince1970: 1_000)
        )
    }

    @Test func theTimeOfTheOriginalOutlivesEveryReplay() {
        // A replay that failed again: its letter names the replay's time, and the message the first one's.
        let second = letter(["kafka_delivery-original-timestamp": [0, 0, 0, 0, 0, 0, 0, 7]])
        #expect(second.originalTimestamp == KafkaTimestamp(millisecondsSince1970: 7))
        let replay = second.replay(to: "orders", .redriven)
        #expect(replay.headers.all("kafka_delivery-original-timestamp") == [[0, 0, 0, 0, 0, 0, 0, 7]])
        #expect(second.replay(to: "orders", .original).timestamp == KafkaTimestamp(millisecondsSince1970: 7))
        let later = letter(["kafka_delivery-original-timestamp": [0, 0, 0, 0, 0, 0, 0x03, 0xE9]])
        #expect(
            later.originalTimestamp == KafkaTimestamp(millisecondsSince1970: 1_000),
            "no replay is from before its original"
        )
        let unknown = KafkaRedrive.Letter(
            partition: 0,
            offset: 0,
            message: KafkaMessage(topic: "orders-dlt", value: "v", timestamp: KafkaTimestamp(millisecondsSince1970: 9))
        )
        #expect(unknown.originalTimestamp == KafkaTimestamp(millisecondsSince1970: 9), "the letter has one itself")
        #expect(unknown.replay(to: "orders", .redriven).headers.all("kafka_delivery-original-timestamp").isEmpty)
    }

    @Test func theKeyDecidesThePartitionAndWithoutOneTheOriginalPartitionDoes() {
        #expect(letter().replay(to: "orders", .original).partition == nil)
        #expect(letter(key: nil).replay(to: "orders", .original).partition == 7)
        #expect(letter(key: nil, value: nil).replay(to: "orders", .original).value == nil)
    }

    @Test func anotherReplayIsCountedInItsOneHeader() {
        let second = letter(["kafka_delivery-redrive-count": [0, 0, 0, 1]])
        #expect(second.redriveCount == 1)
        let replay = second.replay(to: "orders", .redriven)
        #expect(replay.headers.all("kafka_delivery-redrive-count") == [[0, 0, 0, 2]])
        #expect(replay.timestamp == nil)
    }

    @Test func whatTheFilterSaysIsWhatIsRedriven() {
        #expect(decide(letter()) == "orders")
        #expect(decide(letter()) { $0.destination = "elsewhere" } == "elsewhere")
        for error in ["CardDeclined", "by the bank", "Shop."] {
            #expect(decide(letter()) { $0.filter.error = error } == "orders")
        }
        #expect(decide(letter()) { $0.filter.error = "carddeclined" } == "filtered")
        #expect(decide(letter()) { $0.filter.headers = [KafkaHeader("trace", "b")] } == "orders")
        #expect(decide(letter()) { $0.filter.headers = [KafkaHeader("null", nil)] } == "orders")
        #expect(decide(letter()) { $0.filter.headers = [KafkaHeader("empty", nil)] } == "filtered")
        #expect(decide(letter()) { $0.filter.headers = [KafkaHeader("trace", "c")] } == "filtered")
        #expect(decide(letter()) { $0.filter.partitions = [1] } == "filtered")
        #expect(decide(letter()) { $0.filter.partitions = [2] } == "orders")
        #expect(decide(letter()) { $0.filter.offsets = 42..<43 } == "orders")
        #expect(decide(letter()) { $0.filter.offsets = 0..<42 } == "filtered")
        #expect(decide(letter()) { $0.filter.since = KafkaTimestamp(millisecondsSince1970: 1_000) } == "orders")
        #expect(decide(letter()) { $0.filter.since = KafkaTimestamp(millisecondsSince1970: 1_001) } == "filtered")
        #expect(decide(letter()) { $0.filter.until = KafkaTimestamp(millisecondsSince1970: 1_001) } == "orders")
        #expect(decide(letter()) { $0.filter.until = KafkaTimestamp(millisecondsSince1970: 1_000) } == "filtered")
        #expect(decide(letter()) { $0.filter.predicate = { $0.message.key == "k" } } == "orders")
        #expect(decide(letter()) { $0.filter.predicate = { $0.message.key == nil } } == "filtered")
    }

    @Test func whatCannotOrMustNotBeSentAgainIsLeft() {
        let plain = KafkaRedrive.Letter(partition: 0, offset: 0, message: KafkaMessage(topic: "orders-dlt", value: "v"))
        #expect(decide(plain) == "notADeadLetter")
        #expect(decide(plain) { $0.filter.partitions = [1] } == "filtered")
        let often = letter(["kafka_delivery-redrive-count": [0, 0, 0, 3]])
        #expect(decide(often) == "redrivenTooOften")
        #expect(decide(often) { $0.maximumRedrives = 4 } == "orders")
        let own = letter(["kafka_dlt-original-topic": "orders-dlt"])
        #expect(decide(own) == "wouldReturn")
        #expect(decide(own) { $0.destination = "orders" } == "orders")
    }

    @Test func aCountThatIsNoneCountsAsZero() {
        #expect(letter(["kafka_delivery-redrive-count": "3"]).redriveCount == 0)
        #expect(letter(["kafka_delivery-redrive-count": [0xFF, 0, 0, 0]]).redriveCount == 0)
    }

    @Test func whatCannotBeMeantIsRefused() {
        let changes: [(inout KafkaRedrive.Configuration) -> Void] = [
            { $0.topic = "" }, { $0.topic = "^orders" }, { $0.destination = "orders-dlt" }, { $0.destination = "" },
            { $0.maximumRate = 0 }, { $0.maximumRate = .nan }, { $0.maximumRate = .infinity }, { $0.maximumCount = 0 },
            { $0.maximumRedrives = 0 }, { $0.closeTimeout = .seconds(-1) },
        ]
        for change in changes {
            var configuration = configuration
            change(&configuration)
            #expect(throws: KafkaError.self) { try configuration.validate() }
        }
        #expect(configuration.group == "orders-dlt-redrive")
    }

    @Test func aMemberIsDoneWhenWhatItHasIsGoneThrough() {
        var membership = RedriveMembership()
        membership.finish(2)
        #expect(!membership.isComplete)
        membership.assign([0, 1, 2])
        membership.finish(0)
        #expect(!membership.isComplete)
        membership.revoke([0, 1, 2])
        membership.finish(1)
        #expect(!membership.isComplete, "what was revoked may come back")
        membership.assign([])
        #expect(membership.isComplete, "others have the rest")
    }
}
