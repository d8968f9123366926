import Foundation
import KafkaDelivery
import KafkaDeliveryTesting

@testable import TestMember

/// What happens in a run of processes that transform, all of it decided by a seed.
struct TransformHistoryPlan {
    static let partitions = 6
    static let outputPartitions = 3
    static let keys = 40

    let seed: UInt64
    /// The lives of each process, one after the other; the last of each gets everything done.
    let processes: [[TransformPlan]]

    init(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        self.seed = seed
        // Two static members, whose partitions wait for them, and one that joins and leaves, so that the group rebalances.
        processes =
            (0..<2).map { number in
                let lives = Int.random(in: 4...6, using: &random)
                return (0..<lives).map { life in
                    let messages = Int.random(in: 1...150, using: &random)
                    let end: TransformPlan.End =
                        random.happens(in: 80) ? Self.death(after: messages, using: &random) : .leave(after: messages)
                    return TransformPlan(name: "\(number)", life: life, isStatic: true, end: end, using: &random)
                } + [TransformPlan(name: "\(number)", life: lives, isStatic: true, end: .none, using: &random)]
            } + [Self.passerBy(using: &random)]
    }

    private static func death(after messages: Int, using random: inout SeededGenerator) -> TransformPlan.End {
        .death(after: messages, microseconds: Int.random(in: 0..<30_000, using: &random))
    }

    /// The lives of a member that the group misses for a whole session when it dies, or stands still. So each happens once: it
    /// leaves, dies, and is stopped in the middle of what it does and goes on when others have its partitions.
    private static func passerBy(using random: inout SeededGenerator) -> [TransformPlan] {
        func messages() -> Int { Int.random(in: 1...100, using: &random) }
        var lives: [(standsStillAfter: Int?, end: TransformPlan.End)] = [
            (nil, .leave(after: messages())), (nil, death(after: messages(), using: &random)),
            (messages(), .leave(after: 150)),
        ]
        lives.shuffle(using: &random)
        return (lives + [(nil, .none)]).enumerated().map { number, life in
            TransformPlan(
                name: "2",
                life: number,
                isStatic: false,
                standsStillAfter: life.standsStillAfter,
                end: life.end,
                using: &random
            )
        }
    }
}

/// Carries out a ``TransformHistoryPlan`` and gives its history.
final class TransformHistoryRun: Sendable {
    private struct Progress {
        /// How many messages were sent, and handed to a transformation.
        var sent = 0
        var given = 0
        var isAllSent = false
        /// Processes in their last life.
        var last = 0
        var kills = 0
        var leaves = 0
        var stops = 0
        var isOver = false
    }

    /// How many messages wait to be transformed at most, so that there are some for each life.
    private static let backlog = 150

    private let plan: TransformHistoryPlan
    private let cluster: TestCluster
    private let input: String
    private let output: String
    private let group: String
    private let folder: URL
    private let recorder = DeliveryHistory.Recorder()
    private let observer: ClusterObserver
    private let progress = Shared(Progress())
    private let problems = Shared<[String]>([])

    init(_ plan: TransformHistoryPlan) async throws {
        self.plan = plan
        cluster = try TestCluster()
        input = try await cluster.makeTopic(partitions: TransformHistoryPlan.partitions, name: "in")
        output = try await cluster.makeTopic(partitions: TransformHistoryPlan.outputPartitions, name: "out")
        group = TestCluster.uniqueName("transform\(plan.seed)")
        folder = FileManager.default.temporaryDirectory.appendingPathComponent(group)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        observer = try ClusterObserver(cluster.bootstrapServers, group: group)
    }

    func run() async throws -> HistoryOutcome {
        let start = ContinuousClock.now
        async let observing: Void = observe()
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await self.send() }
            for lives in plan.processes {
                tasks.addTask { try await self.live(lives) }
            }
            try await tasks.waitForAll()
        }
        progress.change { $0.isOver = true }
        await observing
        try await readLogs()
        return try outcome(start.duration(to: .now))
    }

    // MARK: Processes

    private func live(_ lives: [TransformPlan]) async throws {
        for var life in lives {
            life.name = "\(group)-\(life.name)"
            life.group = group
            life.input = input
            life.output = output
            life.bootstrapServers = cluster.bootstrapServers
            let given = Shared(0)
            let child = try start(life, counting: given)
            if let count = life.standsStillAfter { try await standStill(child, given, after: count) }
            if life.end == .none {
                progress.change { $0.last += 1 }
                try await finish()
                try child.input.close()
            }
            let end = await child.end()
            switch life.end {
            case .death:
                progress.change { $0.kills += 1 }
                if end != .signal(SIGKILL) { complain("\(life.process) ended with \(end) before it was killed") }
            case .leave, .none:
                if life.end != .none { progress.change { $0.leaves += 1 } }
                if end != .exit(0) { complain("\(life.process) ended with \(end)") }
            }
        }
    }

    /// Stops a process, lets it go on when its group has gone on without it, and so with whatever it was in the middle of.
    private func standStill(_ child: ChildProcess, _ given: Shared<Int>, after count: Int) async throws {
        try await given.wait { $0 >= count }
        child.send(signal: SIGSTOP)
        // More than may wait for a member that does not come: others have got its partitions.
        let goal = progress.change { progress in
            progress.stops += 1
            return progress.given + 8 * Self.backlog
        }
        try await progress.wait { $0.given >= goal }
        child.send(signal: SIGCONT)
    }

    private func start(_ life: TransformPlan, counting given: Shared<Int>) throws -> ChildProcess {
        let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        let child = try ChildProcess(
            tests.appendingPathComponent("TestMember").path,
            [
                "transform", String(decoding: try JSONEncoder().encode(life), as: UTF8.self),
                folder.appendingPathComponent("\(life.process).jsonl").path,
            ],
            errors: folder.appendingPathComponent("\(life.process).log").path
        )
        let progress = progress
        Thread.detachNewThread {
            while case let dots = child.nextOutput(), !dots.isEmpty {
                progress.change { $0.given += dots.count }
                given.change { $0 += dots.count }
            }
        }
        return child
    }

    private func complain(_ what: String) {
        problems.change { $0.append(what) }
    }

    // MARK: Messages

    /// Sends as long as there are processes that wait for their end.
    private func send() async throws {
        let all = plan.processes.count
        try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
            while progress.value.last < all {
                let first = progress.value.sent
                for number in first..<first + 30 {
                    let key = "key \(number % TransformHistoryPlan.keys)"
                    let message = KafkaMessage(topic: input, key: KafkaBytes(key), value: KafkaBytes("\(number)"))
                    try await recorder.send(message, through: producer)
                }
                progress.change { $0.sent += 30 }
                try await progress.wait { $0.sent - $0.given < Self.backlog || $0.last == all }
            }
        }
        progress.change { $0.isAllSent = true }
    }

    /// Waits until everything that was sent is committed, for as long as no minute passes in which nothing is.
    private func finish() async throws {
        try await progress.wait { $0.isAllSent }
        let reader = try ClusterObserver(cluster.bootstrapServers, group: group + "-log")
        let messages = try await reader.log(input, partitions: TransformHistoryPlan.partitions)
        let ends = messages.reduce(into: [Int: Int64]()) { ends, message in
            let partition = message.position.partition.partition
            ends[partition] = max(ends[partition] ?? 0, message.position.offset + 1)
        }
        let offsets = GroupOffsets(cluster, group)
        var last = (offsets: [Int: Int64](), at: ContinuousClock.now)
        while true {
            let committed = try await offsets.committed(input, partitions: 0...TransformHistoryPlan.partitions - 1)
            if committed == ends { return }
            if committed != last.offsets { last = (committed, .now) }
            guard last.at.duration(to: .now) < .seconds(60) else {
                return complain("not finished: ends \(ends), committed \(committed)")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    // MARK: Evidence

    private func observe() async {
        while !progress.value.isOver {
            await recordCommits(within: .seconds(1))
            let goal = progress.value.given + 20
            await progress.wait(atMost: .milliseconds(100)) { $0.given >= goal || $0.isOver }
        }
    }

    private func recordCommits(within timeout: Duration) async {
        let count = TransformHistoryPlan.partitions
        guard let committed = await observer.committed(input, partitions: count, within: timeout) else { return }
        for (partition, offset) in committed {
            recorder.record(.committed(.init(topic: input, partition: partition), offset: offset), by: "observer")
        }
    }

    private func readLogs() async throws {
        let reader = try ClusterObserver(cluster.bootstrapServers, group: group + "-log")
        for message in try await reader.log(input, partitions: TransformHistoryPlan.partitions) {
            recorder.record(.stored(message.position, value: message.value, key: message.key), by: "observer")
        }
        for message in try await reader.log(output, partitions: TransformHistoryPlan.outputPartitions) {
            let parts = message.value.split(separator: ":").first?.split(separator: "@") ?? []
            guard parts.count == 2, let partition = Int(parts[0]), let offset = Int64(parts[1]) else {
                complain("an output that nobody made: \(message.value)")
                continue
            }
            let original = DeliveryHistory.Position(.init(topic: input, partition: partition), offset)
            recorder.record(.output(of: original, at: message.position, value: message.value), by: "observer")
        }
        await recordCommits(within: .seconds(10))
    }

    private func outcome(_ duration: Duration) throws -> HistoryOutcome {
        var outcome = try HistoryOutcome(recorder, folder: folder, problems: problems.value)
        let given = outcome.count { if case .transforming = $0 { true } else { false } }
        let outputs = outcome.count { if case .output = $0 { true } else { false } }
        let commits = outcome.count { if case .committed = $0 { true } else { false } }
        let progress = progress.value
        outcome.summary = """
            seed \(plan.seed): \(progress.sent) sent, \(given) transformed, \(outputs) outputs, \(commits) offsets read back; \
            \(outcome.children) processes, \(progress.kills) killed, \(progress.leaves) left, \
            \(progress.stops) stopped; \
            \(duration.formatted(.units(allowed: [.seconds], fractionalPart: .show(length: 1))))
            """
        return outcome
    }
}
