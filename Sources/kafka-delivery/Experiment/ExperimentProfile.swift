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

    /// The faults for a run of so many messages. They come by the number of bytes and answers, not by the clock, so that
    /// each run meets about as many: 30 cuts and 20 lost confirmations for `flaky`.
    func faults(messages: Int) -> FaultRelay.Faults {
        var faults = FaultRelay.Faults()
        let (cuts, losses) =
            switch self {
            case .calm: (0, 0)
            case .flaky, .far: (30, 20)
            case .rough: (120, 80)
            }
        guard cuts > 0 else { return faults }
        faults.requests.meanBytesBetweenCuts = max(messages * Self.messageBytes / cuts, 500)
        let requests = max(messages / Self.batchMessages, 1)
        faults.responseLoss = .init(
            probability: min(Double(losses) / Double(requests), 0.5),
            cutsAfter: .milliseconds(5)
        )
        if self == .rough {
            faults.requests.jitter = .milliseconds(2)
            faults.responses.jitter = .milliseconds(2)
        }
        if self == .far {
            for flow in [\FaultRelay.Faults.requests, \.responses] {
                faults[keyPath: flow].delay = .milliseconds(20)
                faults[keyPath: flow].jitter = .milliseconds(10)
            }
        }
        return faults
    }
}
