import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import Logging

@testable import TestMember

/// Carries out a ``HistoryPlan`` and gives its history.
final class HistoryRun: Sendable {
    private struct Progress {
        var acknowledged = 0
        /// How many messages may be sent so far.
        var released = 0
        var isOver = false
    }

    private enum Member {
        case task(MemberRun, Task<Void, any Error>)
        case process(ChildProcess)
    }

    private let plan: HistoryPlan
    private let cluster: TestCluster
    private let topic: String
    private let group: String
    private let folder: URL
    private let recorder = DeliveryHistory.Recorder()
    private let observer: ClusterObserver
    private let relay: FaultRelay
    private let progress = Shared(Progress())
    private let members = Shared<[String: Member]>([:])
    private let problems = Shared<[String]>([])
    private let faults = Shared((kills: 0, joins: 0, leaves: 0, others: 0))

    /// The longest that a step waits for the messages before it: handlers that hang and groups that rebalance hold them up.
    /// Nothing follows from that time but when the next step comes.
    private static let pace = Duration.milliseconds(1_500)

    init(_ plan: HistoryPlan) async throws {
        self.plan = plan
        cluster = try TestCluster(brokers: HistoryPlan.brokers, checksSequences: true)
        relay = try FaultRelay(seed: plan.seed)
        topic = try await cluster.makeTopic(partitions: plan.partitions, name: "history\(plan.seed)")
        if TestCluster.isMock {
            try cluster.mock.createTopic(topic + "-dlt", partitions: plan.partitions)
        } else {
            try await TopicAdministration(cluster.bootstrapServers).create(topic + "-dlt", partitions: plan.partitions)
        }
        group = TestCluster.uniqueName("history\(plan.seed)")
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(group)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        observer = try ClusterObserver(cluster.bootstrapServers, group: group)
    }

    func run() async throws -> HistoryOutcome {
        let start = ContinuousClock.now
        let sending = Task { try await self.send() }
        let observing = Task { await self.observe() }
        for step in plan.steps {
            try await take(step)
            let released = plan.messages / (plan.steps.count + 1)
            let goal = progress.change { progress in
                progress.released += released
                return progress.acknowledged + released * 3 / 4
            }
            await progress.wait(atMost: Self.pace) { $0.acknowledged >= goal }
        }
        try heal()
        progress.change { $0.released = plan.messages }
        for var finisher in plan.finishers { try join(&finisher, isChild: false) }
        let finishers = Set(plan.finishers.map(\.name))
        // All at once, so that the group has one rebalance of it.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for name in members.value.keys where !finishers.contains(name) {
                group.addTask { try await self.leave(name) }
            }
            try await group.waitForAll()
        }
        try await sending.value
        try await finish()
        progress.change { $0.isOver = true }
        await observing.value
        try await withThrowingTaskGroup(of: Void.self) { group in
            for name in finishers { group.addTask { try await self.leave(name) } }
            try await group.waitForAll()
        }
        try await readLogs()
        return try outcome(start.duration(to: .now))
    }

    // MARK: Steps

    private func take(_ step: HistoryPlan.Step) async throws {
        switch step {
        case .join(var member, let isChild):
            try join(&member, isChild: isChild)
            faults.change { $0.joins += 1 }
        case .leave(let name, let isAbrupt):
            try await leave(name, isAbrupt: isAbrupt)
            faults.change { $0.leaves += 1 }
        case .kill(let name):
            try kill(name)
            faults.change { $0.kills += 1 }
        case .stop(let name), .goOn(let name):
            guard case .process(let child) = members.value[name] else { break }
            if case .stop = step { Foundation.kill(child.identifier, SIGSTOP) } else { child.goOn() }
        case .pause(let name), .resume(let name):
            guard case .task(let run, _) = members.value[name] else { break }
            if case .pause = step { run.pause() } else { run.resume() }
        case .takeDown(let broker): try cluster.mock.takeDown(broker: broker)
        case .bringUp(let broker): try cluster.mock.bringUp(broker: broker)
        case .inject(let errors, let kind): try cluster.mock.inject(errors, into: kind)
        case .moveCoordinator(let broker): try cluster.mock.moveCoordinator(group: group, to: broker)
        case .cutConnections: relay.cutConnections()
        case .loseResponses: relay.loseResponses()
        case .loseConfirmations(let percent):
            relay.faults.responseLoss = .init(probability: Double(percent) / 100)
        case .delay(let milliseconds): relay.faults.responses.jitter = .milliseconds(milliseconds)
        case .slowDown(let milliseconds): try cluster.mock.setRoundTripTime(.milliseconds(milliseconds))
        }
        switch step {
        case .join, .leave, .kill, .bringUp, .goOn, .resume: break
        case .inject(let errors, _): faults.change { $0.others += errors.count }
        default: faults.change { $0.others += 1 }
        }
    }

    private func heal() throws {
        relay.faults = .init()
        guard TestCluster.isMock else { return }
        let mock = try cluster.mock
        try mock.bringUp()
        try mock.setRoundTripTime(.zero)
        for kind in MockCluster.RequestKind.allCases { try mock.clearErrors(for: kind) }
    }

    private func join(_ member: inout MemberPlan, isChild: Bool) throws {
        member.bootstrapServers = cluster.bootstrapServers
        member.topic = topic
        member.group = group
        member.sessionMilliseconds = TestCluster.isMock ? 4_000 : 6_000
        let name = member.name
        let progress = progress
        guard isChild else {
            // A mock broker of librdkafka 2.0.2 ends the process where a member whose connection broke joins again before it
            // has noticed that.
            let route = TestCluster.isMock ? nil : relay
            let run = try MemberRun(member, recorder: recorder, relay: route, logger: .test) {
                progress.change { $0.acknowledged += 1 }
            }
            let task = Task { try await run.run() }
            members.change { $0[name] = .task(run, task) }
            return
        }
        let file = folder.appendingPathComponent("\(name).jsonl").path
        let json = try String(decoding: JSONEncoder().encode(member), as: UTF8.self)
        let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        let child = try ChildProcess(
            tests.appendingPathComponent("TestMember").path,
            ["history", json, file],
            errors: folder.appendingPathComponent("\(name).log").path
        )
        members.change { $0[name] = .process(child) }
        Thread.detachNewThread {
            while case let dots = child.nextOutput(), !dots.isEmpty {
                progress.change { $0.acknowledged += dots.count }
            }
        }
    }

    private func leave(_ name: String, isAbrupt: Bool = false) async throws {
        switch members.change({ $0.removeValue(forKey: name) }) {
        case .task(let run, let task):
            if isAbrupt { task.cancel() }
            await run.leave()
            // Handlers that hang.
            task.cancel()
            do {
                try await task.value
            } catch {
                problems.change { $0.append("\(name) failed: \(error)") }
            }
        case .process(let child):
            child.goOn()
            try child.input.close()
            let end = await child.end()
            if end != .exit(0) { problems.change { $0.append("\(name) ended with \(end)") } }
        case nil: break
        }
    }

    private func kill(_ name: String) throws {
        guard case .process(let child) = members.change({ $0.removeValue(forKey: name) }) else { return }
        Foundation.kill(child.identifier, SIGKILL)
        let status = child.wait()
        if status != SIGKILL {
            problems.change { $0.append("\(name) ended before it was killed, with status \(status)") }
        }
    }

    // MARK: Messages

    private func send() async throws {
        var configuration = cluster.producerConfiguration()
        // Broken connections are made again soon enough that no message runs out of its time: then idempotence ends.
        configuration.additionalProperties["reconnect.backoff.max.ms"] = "1000"
        relay.route(&configuration)
        try await withKafkaProducer(configuration, logger: .test) { producer in
            let next = Shared(0)
            await withTaskGroup { group in
                for _ in 0..<8 {
                    group.addTask {
                        while true {
                            let number = next.change { next in
                                defer { next += 1 }
                                return next
                            }
                            guard number < self.plan.messages else { return }
                            do { try await self.progress.wait { $0.released > number } } catch { return }
                            let key = number % 10 == 0 ? nil : KafkaBytes("key \(number % self.plan.keys)")
                            let message = KafkaMessage(topic: self.topic, key: key, value: KafkaBytes("\(number)"))
                            _ = try? await self.recorder.send(message, through: producer)
                        }
                    }
                }
            }
        }
    }

    /// Reads the group's offsets whenever there may be new ones.
    private func observe() async {
        var next = 0
        while !progress.value.isOver {
            await recordCommits(within: .milliseconds(500))
            next = progress.value.acknowledged + 20
            let goal = next
            await progress.wait(atMost: .milliseconds(100)) { $0.acknowledged >= goal || $0.isOver }
        }
    }

    @discardableResult
    private func recordCommits(within timeout: Duration) async -> [Int: Int64]? {
        guard let committed = await observer.committed(topic, partitions: plan.partitions, within: timeout) else {
            return nil
        }
        for (partition, offset) in committed {
            recorder.record(.committed(.init(topic: topic, partition: partition), offset: offset), by: "observer")
        }
        return committed
    }

    /// Waits until everything that is in the log is committed, for as long as no minute passes in which nothing is acknowledged.
    private func finish() async throws {
        let reader = try ClusterObserver(cluster.bootstrapServers, group: group + "-log")
        let ends = try await reader.log(topic, partitions: plan.partitions).reduce(into: [Int: Int64]()) {
            ends,
            message in
            let partition = message.position.partition.partition
            ends[partition] = max(ends[partition] ?? 0, message.position.offset + 1)
        }
        var acknowledged = (count: progress.value.acknowledged, at: ContinuousClock.now)
        var committed: [Int: Int64]? = nil
        while committed != ends {
            let count = progress.value.acknowledged
            if count > acknowledged.count { acknowledged = (count, .now) }
            guard acknowledged.at.duration(to: .now) < .seconds(60) else {
                let missing = ends.filter { committed?[$0.key] != $0.value }
                problems.change { $0.append("not finished: ends \(missing), committed \(committed ?? [:])") }
                return
            }
            let goal = progress.value.acknowledged + 1
            await progress.wait(atMost: .milliseconds(200)) { $0.acknowledged >= goal }
            committed = await observer.committed(topic, partitions: plan.partitions, within: .seconds(1))
        }
    }

    private func readLogs() async throws {
        await recordCommits(within: .seconds(5))
        let reader = try ClusterObserver(cluster.bootstrapServers, group: group + "-log")
        for message in try await reader.log(topic, partitions: plan.partitions) {
            recorder.record(.stored(message.position, value: message.value, key: message.key), by: "observer")
        }
        for letter in try await reader.log(topic + "-dlt", partitions: plan.partitions) {
            guard let original = letter.original else {
                problems.change { $0.append("a dead letter without its headers: \(letter)") }
                continue
            }
            recorder.record(.deadLetter(of: original, at: letter.position, value: letter.value), by: "observer")
            if original.partition.partition != letter.position.partition.partition {
                problems.change { $0.append("a dead letter in another partition: \(letter)") }
            }
        }
    }

    private func outcome(_ duration: Duration) throws -> HistoryOutcome {
        var outcome = try HistoryOutcome(recorder, folder: folder, problems: problems.value)
        let sent = outcome.count { if case .sent = $0 { true } else { false } }
        let delivered = outcome.count { if case .delivered = $0 { true } else { false } }
        let letters = outcome.count { if case .deadLetter = $0 { true } else { false } }
        let lost = outcome.count { if case .lost(let partitions) = $0 { !partitions.isEmpty } else { false } }
        let revoked = outcome.count { if case .revoked(let partitions, _) = $0 { !partitions.isEmpty } else { false } }
        let commits = outcome.count { if case .committed = $0 { true } else { false } }
        let (kills, joins, leaves, others) = faults.value
        outcome.summary = """
            seed \(plan.seed): \(plan.partitions) partitions, \(plan.strategy), \(sent) confirmed, \(delivered) delivered, \
            \(letters) dead letters, \(commits) offsets read back; \(revoked) revocations, \(lost) losses; \(joins) joins, \(leaves) leaves, \(kills) kills, \
            \(others) faults; \(duration.formatted(.units(allowed: [.seconds], fractionalPart: .show(length: 1))))
            """
        return outcome
    }
}

extension ChildProcess {
    /// Ends a SIGSTOP; one that was not stopped does not notice.
    fileprivate func goOn() {
        kill(identifier, SIGCONT)
    }
}
