import KafkaDelivery
import Testing

@Suite(.timeLimit(.minutes(5)))
struct ConsumerConfigurationTests {
    private static let valid = KafkaConsumer.Configuration(
        bootstrapServers: ["localhost:9092"],
        group: "group",
        topics: ["topic"]
    )

    /// A setting that is wrong, and what the error has to mention.
    struct Mistake: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let change: @Sendable (inout KafkaConsumer.Configuration) -> Void

        init(_ mention: String, _ change: @escaping @Sendable (inout KafkaConsumer.Configuration) -> Void) {
            self.testDescription = mention
            self.change = change
        }
    }

    @Test(
        arguments: [
            Mistake("bootstrapServers") { $0.bootstrapServers = [] },
            Mistake("group is empty") { $0.group = "" },
            Mistake("topics") { $0.topics = [] },
            Mistake("topics") { $0.topics = ["good", ""] },
            Mistake("not both") { $0.partitions = [KafkaTopicPartition(topic: "topic", partition: 0)] },
            Mistake("group is \" \"") { $0.group = " " },
            Mistake("\"a\" is in it more than once") { $0.topics = ["a", "b", "a"] },
            Mistake("\"^(\" is no regular expression") { $0.topics = ["^("] },
            Mistake("\" \" cannot be a topic's name") { $0.topics = [" "] },
            Mistake("groupInstanceID is \"\"") { $0.groupInstanceID = "" },
            Mistake("\"http://h:p\"") { $0.bootstrapServers = ["http://h:p"] },
            Mistake("partitions: \"^topic\"") { configuration in
                configuration.topics = []
                configuration.partitions = [KafkaTopicPartition(topic: "^topic", partition: 0)]
            },
            Mistake("partitions: topic [-1]") { configuration in
                configuration.topics = []
                configuration.partitions = [KafkaTopicPartition(topic: "topic", partition: -1)]
            },
            Mistake("handlerTimeout") { $0.handlerTimeout = .milliseconds(9) },
            Mistake("stuckHandling") { configuration in
                configuration.topics = []
                configuration.partitions = [KafkaTopicPartition(topic: "topic", partition: 0)]
                configuration.stuckHandling = .leaveGroup
            },
            Mistake("groupInstanceID") { configuration in
                configuration.topics = []
                configuration.partitions = [KafkaTopicPartition(topic: "topic", partition: 0)]
                configuration.groupInstanceID = "one"
            },
            Mistake("autoOffsetReset is failure") { configuration in
                configuration.topics = []
                configuration.partitions = [KafkaTopicPartition(topic: "topic", partition: 0)]
                configuration.group = ""
                configuration.autoOffsetReset = .failure
            },
            Mistake("assignmentStrategies") { $0.assignmentStrategies = [] },
            Mistake("cooperativeSticky") { $0.assignmentStrategies = [.range, .cooperativeSticky] },
            Mistake("offset -5") { $0.start = .offset(-5) },
            Mistake("maximumUnsettledPerPartition") { $0.maximumUnsettledPerPartition = 0 },
            Mistake("maximumUncommitted") { $0.maximumUncommitted = 0 },
            Mistake("commitInterval") { $0.commitInterval = .zero },
            Mistake("revocationTimeout") { $0.revocationTimeout = .seconds(-1) },
            Mistake("prefetch.maximumMessages") { $0.prefetch.maximumMessages = 0 },
            Mistake("prefetch.maximumBytes") { $0.prefetch.maximumBytes = 100 },
            Mistake("maximumFetchWait") { $0.maximumFetchWait = .seconds(301) },
            Mistake("`group`") { $0.additionalProperties["group.id"] = "other" },
            Mistake("nothing is committed that was not acknowledged") {
                $0.additionalProperties["enable.auto.commit"] = "true"
            },
            Mistake("nothing is committed that was not acknowledged") {
                $0.additionalProperties["enable.auto.offset.store"] = "true"
            },
            Mistake("`autoOffsetReset`") { $0.additionalProperties["auto.offset.reset"] = "latest" },
            Mistake("no.such.property = \"walrus\"") { $0.additionalProperties["no.such.property"] = "walrus" },
            Mistake("reconnect.backoff.ms = \"walrus\"") { $0.additionalProperties["reconnect.backoff.ms"] = "walrus" },
            Mistake("`sessionTimeout`") { $0.additionalProperties["session.timeout.ms"] = "6000" },
            Mistake("`heartbeatInterval`") { $0.additionalProperties["heartbeat.interval.ms"] = "100" },
            Mistake("sessionTimeout is 0.0 seconds") { $0.sessionTimeout = .zero },
            Mistake("heartbeatInterval is 7200.0 seconds") { $0.heartbeatInterval = .seconds(7_200) },
        ]
    )
    func aWrongSettingIsNamed(_ mistake: Mistake) throws {
        var configuration = Self.valid
        mistake.change(&configuration)
        let error = try #require(throws: KafkaError.self) { try KafkaConsumer(configuration, logger: .test) }
        #expect(error.kind == .invalidConfiguration)
        #expect(error.recovery == .fixRequest)
        #expect(error.description.contains(mistake.testDescription))
    }

    @Test(
        arguments: [
            ("no.such.password", "hunter2"), ("ssl.keystore.password", "hunter2\0"),
            ("sasl.oauthbearer.client.secret.typo", "hunter2"),
        ]
    )
    func aSecretIsNeverShown(name: String, secret: String) throws {
        var configuration = Self.valid
        configuration.additionalProperties[name] = secret
        let error = try #require(throws: KafkaError.self) { try KafkaConsumer(configuration, logger: .test) }
        #expect(error.kind == .invalidConfiguration)
        #expect(error.description.contains(name))
        #expect(!String(reflecting: error).contains("hunter2"))
        #expect(!error.description.contains("hunter2"))
    }

    @Test func aSecretIsNotShownWhereLibrdkafkaRefusesTheWhole() throws {
        var configuration = Self.valid
        configuration.security = .scram(.sha512, userName: "walrus", password: "hunter2", encrypted: false)
        // Refused by rd_kafka_new, after every single property was taken.
        configuration.additionalProperties["max.poll.interval.ms"] = "2000"
        configuration.sessionTimeout = .seconds(6)
        let error = try #require(throws: KafkaError.self) { try KafkaConsumer(configuration, logger: .test) }
        #expect(error.kind == .invalidConfiguration)
        #expect(!String(reflecting: error).contains("hunter2"))
        #expect(!"\(configuration)".contains("hunter2"))
        #expect(!String(reflecting: configuration).contains("hunter2"))
    }

    @Test func aGoodConfigurationIsTaken() async throws {
        var configuration = Self.valid
        configuration.bootstrapServers = ["127.0.0.1:1"]
        configuration.assignmentStrategies = [.range, .roundRobin]
        configuration.groupInstanceID = "one"
        configuration.additionalProperties["fetch.error.backoff.ms"] = "100"
        let consumer = try KafkaConsumer(configuration, logger: .test)
        await consumer.close(within: .seconds(1))
    }
}
