import BareRabbit
import Foundation
import RabbitDelivery

/// What is measured.
enum Job: String, CaseIterable {
    case one = "one task awaiting each confirm"
    case many = "1,000 tasks awaiting"
    case batches
    case consume = "consume, each acknowledged, prefetch 1,000"

    /// How many messages the library and C get.
    var count: Int { self == .one ? 5_000 : 100_000 }

    /// Who else does it, the loop in C first.
    func rivals(_ python: PythonClients?) -> [Rival] {
        let loop = Rival("C loop", target: self == .one ? 0.95 : self == .many ? 0.85 : 0.90) { place, queue, count in
            try bare(self, place, queue, count, encodesItself: true)
        }
        let basicPublish = Rival("C amqp_basic_publish", target: 1) { place, queue, count in
            try bare(self, place, queue, count, encodesItself: false)
        }
        guard let python else { return self == .many ? [loop, basicPublish] : [loop] }
        func client(_ name: String, _ mode: String) -> Rival {
            Rival(name, target: 3, share: self == .one ? 2 : 5) { place, queue, count in
                try python.run(mode, place, queue, count)
            }
        }
        return switch self {
        case .one: [loop, client("pika", "pika-one"), client("aio-pika", "aio-one")]
        case .many:
            [
                loop, basicPublish, client("pika, window 1,000", "pika-many"),
                client("aio-pika, 1,000 tasks", "aio-many"),
            ]
        case .batches: [loop]
        case .consume:
            [loop, client("pika, every 500 together", "pika-consume"), client("aio-pika, each", "aio-consume")]
        }
    }

    private func bare(_ job: Job, _ place: Place, _ queue: String, _ count: Int, encodesItself: Bool) throws -> Sample {
        try Sample.ofThisProcess(count) {
            let line =
                job == .consume
                ? bare_rabbit_consume(place.host, Int32(place.port), queue, Int32(count), 1_000, 500)
                : bare_rabbit_publish(
                    place.host,
                    Int32(place.port),
                    queue,
                    Int32(count),
                    job == .one ? 1 : 1_000,
                    100,
                    encodesItself ? 1 : 0
                )
            if line != 0 { throw Failure("BareRabbit.c:\(line)") }
        }
    }
}

/// Another client that does the same work.
struct Rival {
    let name: String
    /// The least ratio of the library's rate to its.
    let target: Double
    /// It gets this part of the messages.
    let share: Int
    let run: (Place, _ queue: String, _ count: Int) throws -> Sample

    init(
        _ name: String,
        target: Double,
        share: Int = 1,
        run: @escaping (Place, _ queue: String, _ count: Int) throws -> Sample
    ) {
        self.name = name
        self.target = target
        self.share = share
        self.run = run
    }
}

struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// One job on one kind of queue: the library and its rivals, by turns.
struct Comparison {
    let job: Job
    let queue: RabbitTopology.Queue
    let place: Place
    let python: PythonClients?

    /// A row for each rival.
    func lines(rounds: Int, quick: Bool) async throws -> [String] {
        let library = LibraryRabbit(place)
        let rivals = job.rivals(python)
        var ours: [Sample] = []
        var theirs = rivals.map { _ in [Sample]() }
        for round in 0..<rounds {
            // Who begins changes, and each finds the queue as the others did.
            for turn in 0...rivals.count {
                let index = (round + turn) % (rivals.count + 1)
                let share = index < rivals.count ? rivals[index].share : 1
                let count = job.count / (quick ? 10 : 1) / share
                try await library.prepare(queue, messages: job == .consume ? count : 0)
                if index < rivals.count {
                    theirs[index].append(try rivals[index].run(place, queue.name, count))
                } else {
                    ours.append(try await library.run(job, queue, count))
                }
            }
        }
        return zip(rivals, theirs).map { rival, samples in
            line(rival, ours, samples, limit: zip(theirs[0], samples).map { $0.rate / $1.rate })
        }
    }

    /// - Parameter limit: How many times the loop in C is as fast as the rival.
    private func line(_ rival: Rival, _ ours: [Sample], _ theirs: [Sample], limit: [Double]) -> String {
        func text(_ number: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", number) }
        let ratio = Self.median(zip(ours, theirs).map { $0.rate / $1.rate })
        let (possible, isPython) = (Self.median(limit), rival.target >= 3)
        let target =
            isPython && possible < rival.target
            ? "the broker is the limit (C loop \(text(possible, 2)))" : text(rival.target, 2)
        let cells = [
            job.rawValue, "\(queue.kind)", rival.name, text(Self.median(ours.map(\.rate)), 0),
            text(Self.median(theirs.map(\.rate)), 0), text(ratio, 2), target,
            text(Self.median(ours.map(\.processor)), 2), text(Self.median(theirs.map(\.processor)), 2),
        ]
        return "| " + cells.joined(separator: " | ") + " |"
    }

    private static func median(_ numbers: [Double]) -> Double {
        numbers.isEmpty ? 0 : numbers.sorted()[numbers.count / 2]
    }
}
