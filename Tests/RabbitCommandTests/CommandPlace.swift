import DeliveryTesting
import Foundation
import Logging
import RabbitDelivery
import RabbitDeliveryTesting

/// A logger that says nothing: what goes wrong here is meant to.
let quiet = Logger(label: "RabbitCommandTests") { _ in SwiftLogNoOpLogHandler() }

/// A folder, a virtual host with a queue, and the tool, where `swift build --build-tests` puts it.
struct CommandPlace {
    let broker: RabbitBroker
    let queue: String
    let folder: URL

    /// One that needs a broker.
    static func make() async throws -> CommandPlace {
        let server = try await RabbitServer.shared()
        let place = CommandPlace(
            broker: try await server.makeBroker(),
            queue: server.unique("orders"),
            folder: try temporaryFolder()
        )
        try await place.declare(.init(queues: [.init(place.queue)]))
        return place
    }

    /// One where nobody answers.
    static func nowhere() throws -> CommandPlace {
        CommandPlace(broker: RabbitBroker(hosts: ["127.0.0.1:1"]), queue: "any", folder: try temporaryFolder())
    }

    private static func temporaryFolder() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: "rabbit-delivery-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }

    func remove() { try? FileManager.default.removeItem(at: folder) }

    func declare(_ topology: RabbitTopology) async throws {
        let publisher = try RabbitPublisher(.init(broker, topology: topology), logger: quiet)
        try await publisher.waitUntilConnected(within: .seconds(60))
        await publisher.close()
    }

    // MARK: The tool

    struct Outcome {
        let end: ChildProcess.End
        let output: [String]
        let errors: String
    }

    var url: String {
        let host = broker.hosts.first ?? ""
        return "amqp://guest:guest@\(host)/\(broker.virtualHost == "/" ? "%2f" : broker.virtualHost)"
    }

    static let program = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        .appendingPathComponent("rabbit-delivery").path

    func start(_ arguments: String...) throws -> ChildProcess { try start(arguments) }

    private func start(_ arguments: [String]) throws -> ChildProcess {
        guard let command = arguments.first else { throw NoCommand() }
        // What another run has said is not taken away by being written over.
        try? FileManager.default.removeItem(atPath: path("errors"))
        return try ChildProcess(
            Self.program,
            [command, "--url", url] + arguments.dropFirst(),
            errors: path("errors")
        )
    }

    /// The tool from its start to its end.
    func run(_ arguments: String..., input: String = "") async throws -> Outcome {
        try await finish(try start(arguments), input: input)
    }

    func finish(_ process: ChildProcess, input: String = "") async throws -> Outcome {
        try process.input.write(contentsOf: Data(input.utf8))
        try process.input.close()
        let output = await process.lines().reduce(into: []) { $0.append($1) }
        return Outcome(end: await process.end(), output: output, errors: try text("errors"))
    }

    // MARK: Files

    func path(_ name: String) -> String { folder.appending(path: name).path }

    func text(_ name: String) throws -> String {
        String(decoding: try Data(contentsOf: folder.appending(path: name)), as: UTF8.self)
    }

    func write(_ text: String, _ name: String) throws {
        try Data(text.utf8).write(to: folder.appending(path: name))
    }

    // MARK: The broker, by something else than the tool

    func send(_ bodies: [String], to queue: String? = nil, headers: RabbitTable = [:]) async throws {
        let publisher = try RabbitPublisher(.init(broker), logger: quiet)
        for body in bodies {
            try await publisher.send(
                RabbitMessage(queue: queue ?? self.queue, body: body, properties: .init(headers: headers))
            )
        }
        await publisher.close()
    }

    func take(_ count: Int, from queue: String? = nil) async throws -> [RabbitConsumer.Delivery] {
        try await RabbitConsumer(.init(broker, queue: queue ?? self.queue), logger: quiet).takeAndClose(count)
    }

    func messageCount(_ name: String? = nil, atLeast minimum: Int = 0) async throws -> Int {
        try await broker.messageCount(of: name ?? queue, atLeast: minimum)
    }
}

/// A tool without a command.
struct NoCommand: Error {}
