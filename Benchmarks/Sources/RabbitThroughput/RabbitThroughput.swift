import ArgumentParser
import Foundation
import RabbitDelivery
import RabbitDeliveryTesting

/// Publishes and consumes with the library, with loops in C, and with Python's clients, by turns in one run.
@main
struct RabbitThroughput: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scripts/bench rabbitmq",
        abstract: "Measures RabbitDelivery against librabbitmq called directly from C, by turns in one run.",
        discussion: """
            Where neither --host nor --port is given, a broker is started for it and ended again.

            Rates are medians of the rounds, and a ratio is the median of the rounds' own. A client of Python's is to be passed by three \
            times wherever the broker is not the limit: where the loop in C does not pass it by three times either, that is said instead.
            """
    )

    @Option(help: "The host of a broker of yours.")
    var host: String?

    @Option(help: "The port of a broker of yours, where guest must be able to log in to the default virtual host.")
    var port: Int?

    @Option(help: "How often each is measured; the median counts.")
    var rounds = 3

    @Option(help: "Only rows whose name, with the queue's kind behind it, contains this.")
    var only: String?

    @Option(help: "A Python with pika and aio-pika. 'scripts/bench rabbitmq --python', without a value, makes one.")
    var python: String?

    @Flag(help: "A tenth of the messages.")
    var quick = false

    func validate() throws {
        guard rounds > 0 else { throw ValidationError("--rounds is \(rounds), not 1 or more") }
        if let port, !(1...65_535).contains(port) { throw ValidationError("--port is \(port), not from 1 to 65535") }
    }

    func run() async throws {
        let server = host == nil && port == nil ? try await RabbitServer.start() : nil
        let address = server?.broker.hosts.first ?? "\(host ?? "127.0.0.1"):\(port ?? 5_672)"
        let place = try Place(address)
        let clients = clients()
        say("| | queue | against | library/s | theirs/s | ratio | at least | processor, µs a message | theirs |")
        say("|---|---|---|---|---|---|---|---|---|")
        for job in Job.allCases {
            for kind in [RabbitTopology.Queue.Kind.classic, .quorum] {
                if let only, !"\(job.rawValue), \(kind)".contains(only) { continue }
                let name = "bench-\(kind)-\(ProcessInfo.processInfo.processIdentifier)"
                var queue = RabbitTopology.Queue(name, kind)
                // A broker of yours forgets it after ten minutes.
                queue.arguments["x-expires"] = .int32(600_000)
                let comparison = Comparison(job: job, queue: queue, place: place, python: clients)
                for line in try await comparison.lines(rounds: rounds, quick: quick) { say(line) }
            }
        }
        if python == nil { say("\npika and aio-pika were not measured: scripts/bench rabbitmq --python does.") }
        withExtendedLifetime(server) {}
    }

    /// Python's clients, where there are some.
    private func clients() -> PythonClients? {
        guard let python else { return nil }
        let clients = PythonClients(interpreter: python)
        guard let fault = clients.fault() else { return clients }
        say("pika and aio-pika are not measured: \(fault)\n")
        return nil
    }

    /// A line, at once: a pipe is told nothing for minutes otherwise.
    private func say(_ line: String) {
        FileHandle.standardOutput.write(Data((line + "\n").utf8))
    }
}

/// Where the broker is.
struct Place {
    let host: String
    let port: Int

    init(_ address: String) throws {
        guard let colon = address.lastIndex(of: ":"), let port = Int(address[address.index(after: colon)...]) else {
            throw ValidationError("\(address) is no host and port")
        }
        host = String(address[..<colon])
        self.port = port
    }
}
