/// What is measured, in the order of the scenarios.
enum Catalogue {
    /// Everything; ten minutes or so with five rounds.
    static var full: [Cell] {
        sending + receiving + working + endToEnd + transactions + growing + memory
    }

    /// What CI has time for: the figures that have a target, smaller.
    static var quick: [Cell] {
        full.filter { $0.size == 100 && $0.headers == 0 && $0.scenario <= 10 }.map { cell in
            var cell = cell
            switch cell.shape {
            case .receive: cell.count = cell.count / 2
            case .endToEnd: cell.count = 1_500
            default: cell.count = cell.count / 3
            }
            if let seconds = cell.seconds { cell.seconds = seconds / 2 }
            return cell
        }
    }

    private static let sizes = [(100, 0), (100, 3), (1024, 0), (1024, 3)]

    /// With the smallest messages, where what the library adds shows most, also on the producer's executor.
    private static var sending: [Cell] {
        anywhere.flatMap { cell in
            // A batch waits once.
            guard (cell.size, cell.headers) == (100, 0), cell.shape != .batches(of: 1_000) else { return [cell] }
            var onExecutor = cell
            onExecutor.title = "The same on the producer's executor"
            onExecutor.onExecutor = true
            return [cell, onExecutor]
        }
    }

    private static var anywhere: [Cell] {
        var cells: [Cell] = []
        for (size, headers) in sizes {
            cells.append(
                Cell(
                    scenario: 1,
                    title: "One task awaiting each send",
                    shape: .send(tasks: 1),
                    size: size,
                    headers: headers,
                    count: 10_000,
                    target: .init(rate: 0.95, processor: 1.5, p99: 1.2)
                )
            )
        }
        for (scenario, tasks, count) in [(2, 100, 150_000), (3, 1_000, 600_000), (4, 10_000, 600_000)] {
            for (size, headers) in sizes where tasks == 1_000 || (size, headers) == (100, 0) {
                cells.append(
                    Cell(
                        scenario: scenario,
                        title: "\(tasks) tasks awaiting theirs",
                        shape: .send(tasks: tasks),
                        size: size,
                        headers: headers,
                        count: size > 100 ? count / 3 : count,
                        target: tasks == 1_000 ? .init(rate: 0.70, processor: 1.5) : .init()
                    )
                )
            }
        }
        for (size, headers) in sizes {
            cells.append(
                Cell(
                    scenario: 5,
                    title: "enqueue, awaited later",
                    shape: .enqueue(window: 10_000),
                    size: size,
                    headers: headers,
                    count: size > 100 ? 300_000 : 1_000_000,
                    target: .init(rate: 0.80, processor: 1.5)
                )
            )
        }
        for (size, headers) in [(100, 0), (1024, 3)] {
            cells.append(
                Cell(
                    scenario: 6,
                    title: "send(contentsOf:) of 1,000",
                    shape: .batches(of: 1_000),
                    size: size,
                    headers: headers,
                    // A mock broker's answers take 40 ms here.
                    count: size > 100 ? 30_000 : 60_000,
                    target: .init(rate: 0.90, processor: 1.5)
                )
            )
        }
        return cells
    }

    private static func receive(_ scenario: Int, _ title: String, _ loop: Cell.Loop, rate: Double?) -> Cell {
        Cell(
            scenario: scenario,
            title: title,
            shape: .receive(loop),
            partitions: 24,
            count: 900_000,
            target: .init(rate: rate, processor: rate == nil ? nil : 1.5)
        )
    }

    private static var receiving: [Cell] {
        var cells: [Cell] = []
        for (size, headers) in sizes {
            var cell = receive(7, "Receive and acknowledge each", .deliveries, rate: 0.95)
            cell.size = size
            cell.headers = headers
            if size > 100 {
                cell.partitions = 48
                cell.count = 200_000
            }
            cells.append(cell)
        }
        cells.append(receive(7, "The same on the main actor", .mainActor, rate: 0.95))
        cells.append(receive(8, "forEach per partition", .perPartition, rate: 0.90))
        var perKey = receive(8, "forEach per key, 64 at a time", .perKey, rate: nil)
        perKey.count = 300_000
        cells.append(perKey)
        cells.append(receive(9, "Receive, 1 % negatively acknowledged", .negative, rate: nil))
        return cells
    }

    private static var working: [Cell] {
        var cells: [Cell] = []
        for (work, count, seconds) in [(2_000, 500_000, 1.5), (20_000, 60_000, 1.2), (1_000_000, 2_000, 1.5)] {
            // The small prefetch is one that is emptied many times in a round.
            for prefetch in [nil, work == 1_000_000 ? 10 : 1_000] {
                cells.append(
                    Cell(
                        scenario: 9,
                        title: "\(work < 1_000_000 ? "\(work / 1000) µs" : "1 ms") of work, "
                            + (prefetch.map { "prefetch of \($0)" } ?? "default prefetch"),
                        shape: .receive(.deliveries),
                        partitions: 12,
                        count: count,
                        work: work,
                        prefetch: prefetch,
                        seconds: seconds,
                        target: work == 2_000 ? .init(ofIdeal: 0.80, gap: 0.05) : .init()
                    )
                )
            }
        }
        return cells
    }

    private static var endToEnd: [Cell] {
        [
            Cell(
                scenario: 10,
                title: "End to end at 1,000/s",
                shape: .endToEnd(perSecond: 1_000),
                // A mock broker answers a fetch with one batch of each partition, and here a batch is a message.
                partitions: 12,
                count: 3_000
            )
        ]
    }

    private static var transactions: [Cell] {
        [(1, 100), (100, 5_000), (1_000, 20_000)].map { size, count in
            Cell(
                scenario: 11,
                title: "Transactions of \(size) message\(size == 1 ? "" : "s")",
                shape: .transactions(of: size),
                count: count
            )
        }
    }

    /// How the cost grows with partitions and topics.
    private static var growing: [Cell] {
        var cells: [Cell] = []
        for partitions in [1, 10, 100, 1_000] {
            cells.append(
                Cell(
                    scenario: 12,
                    title: "enqueue to \(partitions) partition\(partitions == 1 ? "" : "s")",
                    shape: .enqueue(window: 50_000),
                    partitions: partitions,
                    count: 300_000
                )
            )
        }
        for topics in [8, 64] {
            cells.append(
                Cell(
                    scenario: 12,
                    title: "enqueue to \(topics) topics",
                    shape: .enqueue(window: 50_000),
                    partitions: 2,
                    topics: topics,
                    count: 300_000
                )
            )
        }
        for partitions in [1, 10, 100, 1_000] {
            cells.append(
                Cell(
                    scenario: 12,
                    title: "Receive from \(partitions) partition\(partitions == 1 ? "" : "s")",
                    shape: .receive(.deliveries),
                    partitions: partitions,
                    count: 400_000
                )
            )
        }
        return cells
    }

    private static var memory: [Cell] {
        [
            Cell(
                scenario: 13,
                title: "10 million messages, sent and received",
                shape: .passThrough,
                partitions: 24,
                count: 10_000_000
            ),
            Cell(
                scenario: 13,
                title: "A consumer that stands still for a minute",
                shape: .standStill(seconds: 60),
                partitions: 24,
                count: 900_000
            ),
        ]
    }
}
