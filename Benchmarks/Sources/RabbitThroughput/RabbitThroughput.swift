import ArgumentParser
import BareRabbit
import Foundation
import Logging
import RabbitDelivery

/// Publishes and consumes with the library and with a loop in C, by turns in one run.
@main
struct RabbitThroughput: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rabbit-throughput",
        abstract: "Measures RabbitDelivery against librabbitmq called directly from C, by turns in one run."
    )

    @Option(help: "The broker's host.")
    var host = "127.0.0.1"

    @Option(help: "The broker's port; guest must be able to log in.")
    var port = 5672

    @Option(help: "How often each is measured; the median counts.")
    var rounds = 3

    @Option(help: "Only rows whose name, with the queue's kind behind it, contains this.")
    var only: String?

    @Flag(help: "A tenth of the messages.")
    var quick = false

    /// What is measured.
    struct Row {
        let name: String
        let count: Int
        /// The least ratio of the rates.
        let target: Double
        let library: (RabbitThroughput, RabbitTopology.Queue, Int) async throws -> Void
        let loop: (RabbitThroughput, RabbitTopology.Queue, Int) -> Int32
        var isConsuming = false
    }

    private static var rows: [Row] {
        [
            Row(name: "one task awaiting each confirm", count: 5_000, target: 0.95) { bench, queue, count in
                try await bench.publish(queue, count, tasks: 1)
            } loop: { bench, queue, count in
                bare_rabbit_publish(bench.host, Int32(bench.port), queue.name, Int32(count), 1, 100)
            },
            Row(name: "1,000 tasks awaiting", count: 100_000, target: 0.85) { bench, queue, count in
                try await bench.publish(queue, count, tasks: 1_000)
            } loop: { bench, queue, count in
                bare_rabbit_publish(bench.host, Int32(bench.port), queue.name, Int32(count), 1_000, 100)
            },
            Row(name: "batches", count: 100_000, target: 0.90) { bench, queue, count in
                try await bench.publishBatches(queue, count)
            } loop: { bench, queue, count in
                bare_rabbit_publish(bench.host, Int32(bench.port), queue.name, Int32(count), 1_000, 100)
            },
            Row(name: "consume, each acknowledged, prefetch 1,000", count: 100_000, target: 0.90) {
                bench,
                queue,
                count in
                try await bench.consume(queue, count)
            } loop: { bench, queue, count in
                bare_rabbit_consume(bench.host, Int32(bench.port), queue.name, Int32(count), 1_000, 500)
            },
        ].enumerated().map { index, row in
            var row = row
            row.isConsuming = index == 3
            return row
        }
    }

    func run() async throws {
        say("| | queue | library/s | C loop/s | ratio | at least | library's processor, µs a message | C loop's |")
        say("|---|---|---|---|---|---|---|---|")
        for row in Self.rows {
            for kind in [RabbitTopology.Queue.Kind.classic, .quorum] {
                if let only, !"\(row.name), \(kind)".contains(only) { continue }
                try await measure(
                    row,
                    RabbitTopology.Queue("bench-\(kind)-\(ProcessInfo.processInfo.processIdentifier)", kind)
                )
            }
        }
    }

    private func measure(_ row: Row, _ queue: RabbitTopology.Queue) async throws {
        let count = quick ? row.count / 10 : row.count
        var library: [(rate: Double, processor: Double)] = []
        var loop: [(rate: Double, processor: Double)] = []
        for round in 0..<rounds {
            // Who begins changes, and each finds the queue as the other did.
            for turn in 0..<2 {
                try await prepare(queue, messages: row.isConsuming ? count : 0)
                if (round + turn) % 2 == 0 {
                    library.append(try await Self.timed(count) { try await row.library(self, queue, count) })
                } else {
                    loop.append(
                        try await Self.timed(count) {
                            let line = row.loop(self, queue, count)
                            if line != 0 { throw Failed(line: line) }
                        }
                    )
                }
            }
        }
        let (ours, theirs) = (Self.median(library), Self.median(loop))
        let ratio = ours.rate / theirs.rate
        func text(_ number: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", number) }
        say(
            "| \(row.name) | \(queue.kind) | \(text(ours.rate, 0)) | \(text(theirs.rate, 0)) | \(text(ratio, 2)) "
                + "| \(text(row.target, 2)) | \(text(ours.processor, 2)) | \(text(theirs.processor, 2)) |"
        )
    }

    /// A line, at once: a pipe is told nothing for minutes otherwise.
    private func say(_ line: String) {
        FileHandle.standardOutput.write(Data((line + "\n").utf8))
    }

    struct Failed: Error {
        let line: Int32
    }

    private static func median(_ samples: [(rate: Double, processor: Double)]) -> (rate: Double, processor: Double) {
        let rates = samples.map(\.rate).sorted()
        let processor = samples.map(\.processor).sorted()
        return (rates[rates.count / 2], processor[processor.count / 2])
    }

    private static func timed(_ count: Int, _ body: () async throws -> Void) async throws -> (
        rate: Double, processor: Double
    ) {
        let (began, before) = (ContinuousClock.now, processorTime())
        try await body()
        let seconds = (ContinuousClock.now - began) / .seconds(1)
        return (Double(count) / seconds, (processorTime() - before) * 1e6 / Double(count))
    }

    /// What the process has used, in seconds.
    private static func processorTime() -> Double {
        var usage = rusage()
        #if canImport(Glibc)
            getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        #else
            getrusage(RUSAGE_SELF, &usage)
        #endif
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    // MARK: The library

    private var broker: RabbitBroker { RabbitBroker(hosts: ["\(host):\(port)"]) }

    private static let quiet = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }

    private func publisher(_ queue: RabbitTopology.Queue) throws -> RabbitPublisher {
        try RabbitPublisher(.init(broker, topology: .init(queues: [queue])), logger: Self.quiet)
    }

    /// An empty queue, or one with so many messages.
    private func prepare(_ queue: RabbitTopology.Queue, messages: Int) async throws {
        try await publishBatches(queue, max(messages, 1))
        if messages == 0 { try await consume(queue, 1) }
    }

    private static let body = [UInt8](repeating: 0, count: 100)

    private func publish(_ queue: RabbitTopology.Queue, _ count: Int, tasks: Int) async throws {
        let publisher = try publisher(queue)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<tasks {
                group.addTask {
                    for _ in 0..<(count / tasks + (task < count % tasks ? 1 : 0)) {
                        try await publisher.send(RabbitMessage(queue: queue.name, body: Self.body))
                    }
                }
            }
            try await group.waitForAll()
        }
        await publisher.close()
    }

    private func publishBatches(_ queue: RabbitTopology.Queue, _ count: Int) async throws {
        let publisher = try publisher(queue)
        let message = RabbitMessage(queue: queue.name, body: Self.body)
        for result in await publisher.send(contentsOf: repeatElement(message, count: count)) { _ = try result.get() }
        await publisher.close()
    }

    private func consume(_ queue: RabbitTopology.Queue, _ count: Int) async throws {
        let consumer = try RabbitConsumer(.init(broker, queue: queue.name, prefetch: 1_000), logger: Self.quiet)
        var received = 0
        for try await delivery in consumer.deliveries {
            delivery.acknowledge()
            received += 1
            if received == count { break }
        }
        await consumer.close()
    }
}
