import ArgumentParser

/// One way to deliver messages, which the experiment shows at work.
enum ExperimentMode: String, CaseIterable, Sendable, ExpressibleByArgument {
    case atMostOnce = "at-most-once"
    case atLeastOnce = "at-least-once"
    case idempotent
    case transactional
    case commitBefore = "commit-before-handling"
    case commitAfter = "commit-after-handling"
    case transform = "consume-transform-produce"

    /// Whether messages may be missing, and may be there more than once, without the mode breaking what it promises.
    struct Promise: Equatable {
        let mayLose: Bool
        let mayRepeat: Bool
    }

    var promise: Promise {
        switch self {
        case .atMostOnce, .commitBefore: Promise(mayLose: true, mayRepeat: false)
        case .atLeastOnce, .commitAfter: Promise(mayLose: false, mayRepeat: true)
        case .idempotent, .transactional, .transform: Promise(mayLose: false, mayRepeat: false)
        }
    }

    /// What is done, in one sentence.
    var explanation: String {
        switch self {
        case .atMostOnce: "acks=0, no retries: sent and forgotten. A cut takes along all that is in buffers."
        case .atLeastOnce: "acks=all, retries, no idempotence: sent again until it is confirmed."
        case .idempotent: "acks=all, retries, idempotence: sent again, and the broker recognises what it has."
        case .transactional:
            "Transactions of \(Experiment.batchCount), some aborted on purpose, by a process that is killed and goes on where "
                + "the topic ends; read with read_committed."
        case .commitBefore:
            "A member of a group that commits \(Experiment.batchCount) messages and then handles them, in a process that is "
                + "killed."
        case .commitAfter:
            "A member of a group that handles \(Experiment.batchCount) messages and then commits them, in a process that is "
                + "killed."
        case .transform:
            "A member of a group that reads messages and writes what comes of them, in one transaction with the offsets, in "
                + "a process that is killed; read with read_committed."
        }
    }

    /// Why librdkafka's mock cluster cannot show it; nil where it can.
    var reasonAgainstMock: String? {
        switch self {
        case .atMostOnce, .atLeastOnce, .idempotent, .commitBefore, .commitAfter: nil
        case .transactional: "the mock cluster does not hide aborted messages from read_committed readers"
        case .transform:
            "the mock cluster does not store offsets sent in a transaction, and does not hide aborted messages"
        }
    }

    /// Whether it is about what a consumer does. Then messages are there to be handled, and no sender is told that they are stored.
    var isReceiving: Bool {
        switch self {
        case .atMostOnce, .atLeastOnce, .idempotent, .transactional: false
        case .commitBefore, .commitAfter, .transform: true
        }
    }

    /// Whether it is about a process that is killed.
    var isKilled: Bool {
        switch self {
        case .atMostOnce, .atLeastOnce, .idempotent: false
        case .transactional, .commitBefore, .commitAfter, .transform: true
        }
    }
}
