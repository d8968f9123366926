import AllocationCount
import Foundation

/// Runs cells: library and bare loop in turn, each round of each side in a fresh process.
@MainActor
final class Bench {
    private let servers: [String]
    private let rounds: Int
    private let progress = Progress()

    init(servers: [String], rounds: Int) throws {
        self.servers = servers
        self.rounds = rounds
    }

    func run(_ cells: [Cell]) -> Run {
        var run = Run(machine: Machine(cluster: ""), rounds: rounds)
        let table = TableReport()
        var cluster: Cluster?
        for (index, cell) in cells.enumerated() {
            do {
                // Mock brokers keep all messages in memory: those of earlier scenarios go with their brokers.
                if cluster == nil || servers.isEmpty && cells[index - 1].scenario != cell.scenario {
                    cluster = try Cluster(servers)
                }
                guard let cluster else { continue }
                run.machine.cluster = cluster.description
                let comparison = try compare(cluster.isMock ? cell.fittingMock() : cell, on: cluster) { [progress] in
                    progress.show("[\(index + 1)/\(cells.count)] \(cell.name): \($0)")
                }
                run.comparisons.append(comparison)
                progress.clear()
                if rounds > 0 { table.print(comparison) }
            } catch {
                progress.clear()
                run.failures.append("\(cell.name): \(error)")
                FileHandle.standardError.write(Data("\(cell.name) failed: \(error)\n".utf8))
            }
        }
        cluster?.cleanUp()
        if rounds > 0 { table.end(run) }
        return run
    }

    private func compare(_ cell: Cell, on cluster: Cluster, _ show: (String) -> Void) throws -> Comparison {
        show("preparing")
        let topics = try cluster.topics(for: cell)
        var comparison = Comparison(cell: cell, library: [], bare: [])
        // Memory and minutes need no repetition.
        let rounds = cell.scenario == 13 ? min(rounds, 1) : rounds
        let first = cell.scenario == 13 ? 1 : 0
        let turns = (first...max(first, rounds)).flatMap { round in
            // Who comes first changes from round to round.
            (round % 2 == 0 ? [Side.bare, .library] : [.library, .bare]).map { (round: round, side: $0) }
        }

        // Groups take seconds to form: all workers form theirs at the same time, and then wait for their turn.
        var waiting: [Child] = []
        if cell.needsGroup, cell.shape != .passThrough {
            waiting = try turns.map { try start(cell, $0.side, topics, cluster, counts: $0.round == 0) }
            for worker in waiting { try awaitReadiness(worker) }
            // Those that stand still do not disturb each other.
            if !cell.isBusy { for worker in waiting { try worker.write("go") } }
        }
        for (index, turn) in turns.enumerated() {
            let what = turn.side == .library ? "library" : "bare loop"
            show(turn.round == 0 ? "warming up, \(what)" : "round \(turn.round) of \(rounds), \(what)")
            let worker: Child
            if waiting.isEmpty {
                worker = try start(cell, turn.side, topics, cluster, counts: turn.round == 0)
                try awaitReadiness(worker)
            } else {
                worker = waiting[index]
            }
            if cell.isBusy { try worker.write("go") }
            let sample = try JSONDecoder().decode(Sample.self, from: Data(worker.readLine(within: 300).utf8))
            if !waiting.isEmpty { worker.finish() } else { worker.wait() }
            note(sample, turn.round, turn.side, in: &comparison)
        }
        return comparison
    }

    private func note(_ sample: Sample, _ round: Int, _ side: Side, in comparison: inout Comparison) {
        if round == 0 {
            // The round that warms up is not measured; the allocations it counts do not depend on time.
            let allocations = sample.allocations.map { Double($0) / Double(sample.messages) }
            if side == .library {
                comparison.libraryAllocations = allocations
            } else {
                comparison.bareAllocations = allocations
            }
        } else if side == .library {
            comparison.library.append(sample)
        } else {
            comparison.bare.append(sample)
        }
    }

    private func start(_ cell: Cell, _ side: Side, _ topics: [String], _ cluster: Cluster, counts: Bool) throws -> Child
    {
        let job = Job(
            cell: cell,
            side: side,
            bootstrapServers: cluster.servers,
            topics: topics,
            group: "bench-\(UInt64.random(in: 0 ... .max))",
            countsAllocations: counts,
            isMock: cluster.isMock
        )
        let argument = String(decoding: try JSONEncoder().encode(job), as: UTF8.self)
        return try Child("\(cell.name) (\(side.rawValue))", ["worker", argument])
    }

    private func awaitReadiness(_ worker: Child) throws {
        let line = try worker.readLine(within: 60)
        guard line == "ready" else { throw Failure("a worker said \(line)") }
    }
}

/// One line on a terminal that says what is going on; nothing where there is none.
@MainActor
struct Progress {
    private let isTerminal = isatty(2) == 1

    func show(_ text: String) {
        if isTerminal { FileHandle.standardError.write(Data("\r\u{1B}[K\(text)".utf8)) }
    }

    func clear() {
        show("")
    }
}
