import KafkaDelivery
import KafkaDeliveryTesting

@testable import TestMember

/// What happens in a history run, all of it decided by a seed: who joins, leaves and is killed, what fails, and when.
///
/// The plan is the same each time. Which thread is faster is not, and neither is what the brokers make of it.
struct HistoryPlan {
    enum Step {
        /// A consumer joins, in a process of its own where it is to be killed one day.
        case join(MemberPlan, isChild: Bool)
        /// A consumer closes; an abrupt one cancels its handlers first.
        case leave(name: String, isAbrupt: Bool)
        case kill(name: String)
        /// A process stands still, for so long that its group may go on without it.
        case stop(name: String)
        case goOn(name: String)
        /// A consumer pauses all its partitions.
        case pause(name: String)
        case resume(name: String)
        case takeDown(broker: Int)
        case bringUp(broker: Int)
        case inject([MockCluster.InjectedError], MockCluster.RequestKind)
        case moveCoordinator(broker: Int)
        case slowDown(milliseconds: Int)
        /// The network of the producer, and on a real cluster of the members that are not children.
        case cutConnections
        case loseResponses
        /// So many in a hundred confirmations of sends get lost on their way.
        case loseConfirmations(percent: Int)
        case delay(milliseconds: Int)
    }

    static let brokers = 3
    static let maximumMembers = 4

    let seed: UInt64
    let partitions: Int
    let messages: Int
    let keys: Int
    let strategy: String
    let steps: [Step]
    /// Those that get everything done in the end.
    let finishers: [MemberPlan]

    init(seed: UInt64, withFaults: Bool) {
        var random = SeededGenerator(seed: seed)
        self.seed = seed
        partitions = Int.random(in: 1...6, using: &random)
        messages = Int.random(in: 1_000...3_000, using: &random)
        keys = Int.random(in: 1...50, using: &random)
        strategy = ["cooperative-sticky", "range", "roundrobin"][Int.random(in: 0..<3, using: &random)]
        var author = Author(seed: seed, strategy: strategy, random: random, withFaults: withFaults)
        author.join()
        if author.random.happens(in: 50) { author.join() }
        // A real group rebalances in no time, and has time for more.
        let count = withFaults ? 5...8 : 8...16
        for _ in 0..<Int.random(in: count, using: &author.random) { author.addStep() }
        steps = author.steps
        finishers = (0..<Int.random(in: 1...2, using: &author.random)).map { _ in author.member(mayHang: false) }
    }

    /// Writes the steps, and keeps in mind who and what is there.
    private struct Author {
        let seed: UInt64
        let strategy: String
        var random: SeededGenerator
        let withFaults: Bool
        var steps: [Step] = []
        private var alone: [String] = []
        private var children: [String] = []
        private var stopped: [String] = []
        private var paused: [String] = []
        private var down: [Int] = []
        private var count = 0

        init(seed: UInt64, strategy: String, random: SeededGenerator, withFaults: Bool) {
            (self.seed, self.strategy, self.random, self.withFaults) = (seed, strategy, random, withFaults)
        }

        mutating func member(mayHang: Bool) -> MemberPlan {
            count += 1
            let mode = MemberPlan.Mode.allCases.randomElement(using: &random) ?? .perPartition
            return MemberPlan(
                name: "member-\(count)-\(mode)",
                mode: mode,
                seed: seed,
                mayHang: mayHang,
                strategy: strategy,
                using: &random
            )
        }

        mutating func join() {
            let plan = member(mayHang: random.happens(in: 50))
            let isChild = random.happens(in: 60)
            if isChild { children.append(plan.name) } else { alone.append(plan.name) }
            steps.append(.join(plan, isChild: isChild))
        }

        mutating func addStep() {
            let members = alone.count + children.count
            switch Int.random(in: 0..<100, using: &random) {
            case ..<25 where members < HistoryPlan.maximumMembers: join()
            case ..<37 where members > 0: leave()
            case ..<60 where !children.isEmpty:
                let name = children.remove(at: Int.random(in: 0..<children.count, using: &random))
                stopped.removeAll { $0 == name }
                steps.append(.kill(name: name))
            case ..<68 where !children.isEmpty: stopOrGoOn()
            case ..<74 where !alone.isEmpty: pauseOrResume()
            case ..<84: addNetworkFault()
            case _ where withFaults: addFault()
            case _ where members < HistoryPlan.maximumMembers: join()
            default: leave()
            }
        }

        private mutating func leave() {
            let index = Int.random(in: 0..<alone.count + children.count, using: &random)
            let name = index < alone.count ? alone.remove(at: index) : children.remove(at: index - alone.count)
            stopped.removeAll { $0 == name }
            paused.removeAll { $0 == name }
            steps.append(.leave(name: name, isAbrupt: random.happens(in: 40)))
        }

        private mutating func stopOrGoOn() {
            if stopped.isEmpty || random.happens(in: 30), let name = children.randomElement(using: &random) {
                guard !stopped.contains(name) else { return }
                stopped.append(name)
                steps.append(.stop(name: name))
            } else {
                steps.append(.goOn(name: stopped.removeFirst()))
            }
        }

        private mutating func pauseOrResume() {
            if paused.isEmpty || random.happens(in: 30), let name = alone.randomElement(using: &random) {
                guard !paused.contains(name) else { return }
                paused.append(name)
                steps.append(.pause(name: name))
            } else {
                steps.append(.resume(name: paused.removeFirst()))
            }
        }

        private mutating func addFault() {
            let broker = Int.random(in: 1...HistoryPlan.brokers, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case ..<3:
                if let index = down.indices.randomElement(using: &random), random.happens(in: 60) {
                    steps.append(.bringUp(broker: down.remove(at: index)))
                } else if !down.contains(broker) {
                    down.append(broker)
                    steps.append(.takeDown(broker: broker))
                }
            case 3: steps.append(.moveCoordinator(broker: broker))
            case 4: steps.append(.slowDown(milliseconds: Int.random(in: 1...100, using: &random)))
            default:
                let (kind, errors) = Self.errors.randomElement(using: &random) ?? (.fetch, [.unknown])
                let count = Int.random(in: 1...8, using: &random)
                let chosen = (0..<count).map { _ in errors.randomElement(using: &random) ?? .unknown }
                steps.append(.inject(chosen, kind))
            }
        }

        private mutating func addNetworkFault() {
            switch Int.random(in: 0..<4, using: &random) {
            case 0: steps.append(.cutConnections)
            case 1: steps.append(.loseResponses)
            case 2: steps.append(.loseConfirmations(percent: Int.random(in: 0...30, using: &random)))
            default: steps.append(.delay(milliseconds: Int.random(in: 0...100, using: &random)))
            }
        }

        /// What brokers do answer to each request, but for what ends the process of librdkafka's mock while a member joins: a commit's
        /// answer that sends it to another coordinator, and that there is no coordinator (`MockCluster.inject`).
        private static let errors: [(MockCluster.RequestKind, [MockCluster.InjectedError])] = [
            (.produce, [.notEnoughReplicas, .notLeaderForPartition, .requestTimedOut, .disconnect]),
            (.fetch, [.notLeaderForPartition, .unknown, .disconnect]),
            (.offsetCommit, [.requestTimedOut, .disconnect]),
            (.offsetFetch, [.coordinatorNotAvailable, .notCoordinator, .disconnect]),
            (.heartbeat, [.rebalanceInProgress, .unknownMember, .notCoordinator, .disconnect]),
            (.joinGroup, [.coordinatorNotAvailable, .notCoordinator, .disconnect]),
            (.syncGroup, [.rebalanceInProgress, .notCoordinator, .disconnect]),
            (.findCoordinator, [.disconnect]),
            (.listOffsets, [.notLeaderForPartition, .disconnect]),
        ]
    }
}

extension HistoryPlan.Step: CustomStringConvertible {
    var description: String {
        switch self {
        case .join(let plan, let isChild): "\(plan.name) joins\(isChild ? " as a child" : "")"
        case .leave(let name, let isAbrupt): "\(name) leaves\(isAbrupt ? " abruptly" : "")"
        case .kill(let name): "\(name) is killed"
        case .stop(let name): "\(name) is stopped"
        case .goOn(let name): "\(name) goes on"
        case .pause(let name): "\(name) pauses"
        case .resume(let name): "\(name) resumes"
        case .takeDown(let broker): "broker \(broker) goes down"
        case .bringUp(let broker): "broker \(broker) comes up"
        case .inject(let errors, let kind): "\(kind) fails \(errors.count) times: \(errors)"
        case .moveCoordinator(let broker): "broker \(broker) becomes the coordinator"
        case .slowDown(let milliseconds): "answers take \(milliseconds) ms"
        case .cutConnections: "connections are cut"
        case .loseResponses: "what brokers say is lost, then connections are cut"
        case .loseConfirmations(let percent): "\(percent) % of confirmations are lost"
        case .delay(let milliseconds): "the network takes up to \(milliseconds) ms"
        }
    }
}
