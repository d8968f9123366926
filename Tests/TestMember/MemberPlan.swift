import Foundation
import KafkaDelivery
import KafkaDeliveryTesting

/// One consumer of a group in a history run: how it is set up, and how it handles messages.
struct MemberPlan: Codable, Sendable {
    /// How deliveries are handled.
    enum Mode: String, Codable, Sendable, CaseIterable {
        case perPartition, perKey, unordered, batches
        /// A loop over `deliveries` that starts a task for each.
        case deliveries
        /// A loop over `partitions`, and one over each of them.
        case partitions

        var order: DeliveryHistory.Order {
            switch self {
            case .perPartition, .batches, .partitions: .partition
            case .perKey: .key
            case .deliveries: .handOut
            case .unordered: .none
            }
        }

        /// Whether the library gives messages up; loops of one's own go on until they succeed.
        var givesUp: Bool {
            switch self {
            case .perPartition, .perKey, .unordered, .batches: true
            case .deliveries, .partitions: false
            }
        }
    }

    static let maximumAttempts = 3

    var name: String
    var mode: Mode
    /// Decides the fates of messages; the same for all members of a run.
    var seed: UInt64
    /// Whether handlers may hang: not those that have to get everything done.
    var mayHang: Bool
    var strategy: String
    var concurrency: Int
    var commitMilliseconds: Int
    var maximumUnsettled: Int
    var prefetch: Int

    // Where.
    var bootstrapServers: [String] = []
    var topic = ""
    var group = ""
    var sessionMilliseconds = 6_000
    var heartbeatMilliseconds: Int

    init(name: String, mode: Mode, seed: UInt64, mayHang: Bool, strategy: String, using random: inout SeededGenerator) {
        self.name = name
        self.mode = mode
        self.seed = seed
        self.mayHang = mayHang
        self.strategy = strategy
        self.concurrency = Int.random(in: 1...16, using: &random)
        // Half of them leave almost everything to the commits that revocations and closing make.
        self.commitMilliseconds = Int.random(in: random.happens(in: 50) ? 1...200 : 2_000...20_000, using: &random)
        self.heartbeatMilliseconds = Int.random(in: 100...1_000, using: &random)
        self.maximumUnsettled = Int.random(in: 20...500, using: &random)
        self.prefetch = Int.random(in: 10...1_000, using: &random)
    }

    var configuration: KafkaConsumer.Configuration {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: bootstrapServers,
            group: group,
            topics: [topic]
        )
        configuration.assignmentStrategies = [.init(rawValue: strategy) ?? .cooperativeSticky]
        configuration.commitInterval = .milliseconds(commitMilliseconds)
        configuration.maximumUnsettledPerPartition = maximumUnsettled
        configuration.prefetch.maximumMessages = prefetch
        configuration.maximumFetchWait = .milliseconds(10)
        configuration.revocationTimeout = .seconds(1)
        if configuration.assignmentStrategies == [.cooperativeSticky],
            ProcessInfo.processInfo.environment["KAFKA_GROUP_PROTOCOL"] == "consumer"
        {
            configuration.groupProtocol = .consumer
            return configuration
        }
        configuration.sessionTimeout = .milliseconds(sessionMilliseconds)
        configuration.heartbeatInterval = .milliseconds(heartbeatMilliseconds)
        // Only mock clusters take so short a session. One that gets no turn for a second forgets a member whose join it has not answered,
        // and librdkafka waits for the answer for 3 s longer than this.
        if sessionMilliseconds < 6_000 { configuration.additionalProperties["max.poll.interval.ms"] = "10000" }
        return configuration
    }
}
