import ArgumentParser
import KafkaDeliveryTesting

/// What is wrong with the network while an experiment runs.
enum ExperimentProfile: String, CaseIterable, Sendable, ExpressibleByArgument {
    case calm
    case flaky
    case rough
    case far

    /// For the help, and for the page.
    var explanation: String {
        switch self {
        case .calm: "nothing is wrong"
        case .flaky: "connections are cut now and then, and some confirmations are lost"
        case .rough: "four times as many cuts and lost confirmations, and jitter"
        case .far: "20 to 30 ms each way, and as flaky as flaky"
        }
    }

    /// How many messages a request carries at most, so that a fault concerns few of them.
    static let batchMessages = 20

    /// What a message comes to on the wire, about.
    private static let messageBytes = 30

    /// How many bytes a consumer asks for at a time, so that a cut concerns few messages.
    static let fetchBytes = 8_192

    /// How many connections are cut, and how many confirmations lost, in a run, about.
    private var counts: (cuts: Int, losses: Int) {
        switch self {
        case .calm: (0, 0)
        case .flaky, .far: (30, 20)
        case .rough: (120, 80)
        }
    }

    /// The faults for a run of so many messages that are sent. They come by the number of bytes and answers, not by the clock,
    /// so that each run meets about as many.
    func faults(messages: Int) -> FaultRelay.Faults {
        var faults = slowness
        guard counts.cuts > 0 else { return faults }
        faults.requests.meanBytesBetweenCuts = max(messages * Self.messageBytes / counts.cuts, 500)
        let requests = max(messages / Self.batchMessages, 1)
        faults.responseLoss = .init(
            probability: min(Double(counts.losses) / Double(requests), 0.5),
            cutsAfter: .milliseconds(5)
        )
        return faults
    }

    /// The faults for a run of so many messages that are received: what is cut is what brokers send, and what is lost is that
    /// offsets are committed.
    func receivingFaults(messages: Int) -> FaultRelay.Faults {
        var faults = slowness
        guard counts.cuts > 0 else { return faults }
        // Not so often that no answer arrives as a whole.
        faults.responses.meanBytesBetweenCuts = max(messages * Self.messageBytes / counts.cuts, 2 * Self.fetchBytes)
        let commits = max(messages / Experiment.batchCount, 1)
        faults.responseLoss = .init(
            probability: min(Double(counts.losses) / Double(commits), 0.5),
            kinds: [.offsetCommit],
            cutsAfter: .milliseconds(5)
        )
        return faults
    }

    private var slowness: FaultRelay.Faults {
        var faults = FaultRelay.Faults()
        for flow in [\FaultRelay.Faults.requests, \.responses] {
            switch self {
            case .calm, .flaky: break
            case .rough: faults[keyPath: flow].jitter = .milliseconds(2)
            case .far:
                faults[keyPath: flow].delay = .milliseconds(20)
                faults[keyPath: flow].jitter = .milliseconds(10)
            }
        }
        return faults
    }
}
