import ArgumentParser
import Foundation
import RabbitDelivery
import ToolSupport

struct TopologyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "topology",
        abstract: "Declares exchanges, queues and bindings, or looks whether they are there.",
        discussion: """
            The file is JSON, in the form of RabbitMQ's definitions (rabbitmqctl export_definitions), of which \
            exchanges, queues and bindings count; - is standard input. What the file says is of another virtual host than the \
            broker's in --url is left out.

              {"exchanges": [{"name": "orders", "type": "topic"}],
               "queues": [{"name": "billing", "arguments": {"x-queue-type": "quorum"}}],
               "bindings": [{"source": "orders", "destination": "billing", "routing_key": "new.#"}]}

            Declaring what is there already changes nothing, and fails where it differs: the error names both values.

            Exit status: 0 when all is there, 1 when it is not, or differs, 64 when the command line is wrong.
            """
    )

    @OptionGroup(title: "Broker")
    var options: BrokerOptions

    @Argument(help: "The definitions.", completion: .file())
    var file: String

    @Flag(help: "Only look whether exchanges and queues are there; AMQP has no question for bindings.")
    var check = false

    func run() async throws {
        let input = InputName(argument: file)
        let data: Data
        do {
            _ = try Input.facts(of: input)
            data =
                file == "-" ? FileHandle.standardInput.readDataToEndOfFile() : try Data(contentsOf: URL(filePath: file))
        } catch let error as SystemError {
            throw ToolFailure("\(input): \(error.text)")
        } catch {
            throw ToolFailure("\(input): \(error.localizedDescription)")
        }
        let broker = try options.broker()
        var topology: RabbitTopology
        do {
            topology = try JSONDecoder().decode(Definitions.self, from: data).topology(of: broker.virtualHost)
        } catch {
            throw ToolFailure("\(input) has no definitions in JSON: \(Definitions.problem(error))")
        }
        topology.isPassive = check
        do throws(RabbitError) {
            let publisher = try RabbitPublisher(.init(broker, topology: topology), logger: options.logger)
            do throws(RabbitError) {
                try await publisher.waitUntilConnected(within: .seconds(60))
            } catch {
                await publisher.close(within: .zero)
                throw error
            }
            await publisher.close()
        } catch {
            throw ToolFailure(error)
        }
        for exchange in topology.exchanges { StandardOutput.print("exchange \(exchange.name)") }
        for queue in topology.queues { StandardOutput.print("queue \(queue.name)") }
        if !check {
            for binding in topology.bindings {
                let key = binding.routingKey.isEmpty ? "" : " \(binding.routingKey)"
                StandardOutput.print("binding \(binding.destination.name) to \(binding.exchange)\(key)")
            }
        }
    }
}

/// RabbitMQ's definitions, as far as they are a topology.
struct Definitions: Decodable {
    struct Exchange: Decodable {
        var vhost: String?
        var name: String
        var type: String?
        var durable: Bool?
        var auto_delete: Bool?
        var `internal`: Bool?
        var arguments: [String: Argument]?
    }

    struct Queue: Decodable {
        var vhost: String?
        var name: String
        var durable: Bool?
        var auto_delete: Bool?
        var arguments: [String: Argument]?
    }

    struct Binding: Decodable {
        var vhost: String?
        var source: String
        var destination: String
        var destination_type: String?
        var routing_key: String?
        var arguments: [String: Argument]?
    }

    /// An argument: what JSON can say of AMQP's types.
    struct Argument: Decodable {
        let value: RabbitFieldValue

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let bool = try? container.decode(Bool.self) {
                value = .bool(bool)
            } else if let number = try? container.decode(Int64.self) {
                value = .int64(number)
            } else if let number = try? container.decode(Double.self) {
                value = .double(number)
            } else if let text = try? container.decode(String.self) {
                value = .string(text)
            } else if let array = try? container.decode([Argument].self) {
                value = .array(array.map(\.value))
            } else {
                value = .table(try container.decode([String: Argument].self).table)
            }
        }
    }

    var exchanges: [Exchange]?
    var queues: [Queue]?
    var bindings: [Binding]?

    /// What is wrong with a file, in words.
    static func problem(_ error: any Error) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.reduce(into: "") { path, key in
                path += key.intValue.map { "[\($0)]" } ?? (path.isEmpty ? "" : ".") + key.stringValue
            }
            return path.isEmpty ? "it" : path
        }
        guard let error = error as? DecodingError else { return "\(error)" }
        switch error {
        case .keyNotFound(let key, let context): return "\(place(context)) has no \(key.stringValue)"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "\(place(context)) is of another kind than it has to be"
        default: return "it is not JSON"
        }
    }

    /// What is of a virtual host, and what does not say of which it is.
    func topology(of virtualHost: String) -> RabbitTopology {
        var topology = RabbitTopology()
        topology.exchanges = (exchanges ?? []).filter { $0.vhost ?? virtualHost == virtualHost }.map { exchange in
            let kind: RabbitTopology.Exchange.Kind =
                switch exchange.type ?? "direct" {
                case "direct": .direct
                case "fanout": .fanout
                case "topic": .topic
                case "headers": .headers
                case let other: .other(other)
                }
            var result = RabbitTopology.Exchange(exchange.name, kind, arguments: exchange.arguments?.table ?? [:])
            result.isDurable = exchange.durable ?? true
            result.isAutoDeleted = exchange.auto_delete ?? false
            result.isInternal = exchange.internal ?? false
            return result
        }
        topology.queues = (queues ?? []).filter { $0.vhost ?? virtualHost == virtualHost }.map { queue in
            var result = RabbitTopology.Queue(queue.name, arguments: queue.arguments?.table ?? [:])
            result.isDurable = queue.durable ?? true
            result.isAutoDeleted = queue.auto_delete ?? false
            return result
        }
        topology.bindings = (bindings ?? []).filter { $0.vhost ?? virtualHost == virtualHost }.map { binding in
            let (key, arguments) = (binding.routing_key ?? "", binding.arguments?.table ?? [:])
            return binding.destination_type == "exchange"
                ? .init(exchange: binding.destination, to: binding.source, routingKey: key, arguments: arguments)
                : .init(queue: binding.destination, to: binding.source, routingKey: key, arguments: arguments)
        }
        return topology
    }
}

extension [String: Definitions.Argument] {
    /// In the order of the names: JSON has none.
    var table: RabbitTable { RabbitTable(sorted { $0.key < $1.key }.map { ($0.key, $0.value.value) }) }
}
