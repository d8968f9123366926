import KafkaDelivery
import KafkaDeliveryTesting

/// One life of a process that copies a topic in transactions: what it is called, how it works, and how it ends.
struct TransformPlan: Codable, Sendable {
    /// How a process ends.
    enum End: Codable, Sendable, Equatable {
        /// It kills itself so many microseconds after it was given its so manieth message: in the middle of a batch, of its
        /// commit, or between two.
        case death(after: Int, microseconds: Int)
        /// It leaves its group after so many messages.
        case leave(after: Int)
        /// It goes on until its input ends.
        case none
    }

    /// The transactional id: a process that comes after another has the same.
    var name: String
    /// Which of those that have the name it is.
    var life: Int
    /// Whether it is a static member of its group, whose partitions wait for the next one of its name.
    var isStatic: Bool
    var maximumCount: Int
    /// Whether connections of its producer are cut, and answers to it lost.
    var isNetworkBad: Bool
    /// How long it tries to commit: where that is short and the network bad, outcomes are unknown, and batches done again.
    var operationSeconds: Int
    /// How many in a hundred messages fail when they are first handed to it.
    var failurePercent: Int
    var seed: UInt64
    /// After how many messages it is stopped, until its group has gone on without it; nil for never.
    var standsStillAfter: Int?
    var end: End

    // Where.
    var bootstrapServers: [String] = []
    var group = ""
    var input = ""
    var output = ""

    init(
        name: String,
        life: Int,
        isStatic: Bool,
        standsStillAfter: Int? = nil,
        end: End,
        using random: inout SeededGenerator
    ) {
        self.name = name
        self.life = life
        self.isStatic = isStatic
        self.standsStillAfter = standsStillAfter
        self.end = end
        maximumCount = Int.random(in: 1...40, using: &random)
        isNetworkBad = random.happens(in: 50)
        operationSeconds = random.happens(in: 50) ? 1 : 10
        failurePercent = random.happens(in: 50) ? 5 : 0
        seed = random.next()
    }

    /// Its name in the history.
    var process: String { "\(name)-\(life)" }

    var consumer: KafkaConsumer.Configuration {
        var configuration = KafkaConsumer.Configuration(
            bootstrapServers: bootstrapServers,
            group: group,
            topics: [input]
        )
        // Of a cooperative group the partitions of a static member that is killed in a rebalance may be nobody's, see
        // groupInstanceID.
        configuration.assignmentStrategies = [.range]
        if isStatic { configuration.groupInstanceID = name }
        configuration.maximumFetchWait = .milliseconds(10)
        configuration.sessionTimeout = .seconds(6)
        configuration.heartbeatInterval = .milliseconds(100)
        return configuration
    }

    var producer: KafkaTransactionalProducer.Configuration {
        var configuration = KafkaTransactionalProducer.Configuration(
            transactionalID: name,
            bootstrapServers: bootstrapServers
        )
        configuration.operationTimeout = .seconds(operationSeconds)
        // Where there is little time, it is often over before a connection is there again.
        let backoff = operationSeconds == 1 ? 1_500 : 200
        configuration.additionalProperties = [
            "reconnect.backoff.ms": "\(backoff / 4)", "reconnect.backoff.max.ms": "\(backoff)",
        ]
        return configuration
    }
}
