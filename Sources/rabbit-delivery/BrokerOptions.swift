import ArgumentParser
import Foundation
import Logging
import RabbitDelivery
import ToolSupport

/// Which broker, and what is said of the connection.
struct BrokerOptions: ParsableArguments {
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "The broker, as amqp://user:password@host:port/virtualhost, or amqps://… with TLS.",
            valueName: "uri"
        )
    )
    var url: String?

    @Option(help: ArgumentHelp("The certificates to trust, with amqps://.", valueName: "file"), completion: .file())
    var ca: String?

    @Flag(name: .shortAndLong, help: "Write what happens to the connection to standard error.")
    var verbose = false

    func broker() throws(ToolFailure) -> RabbitBroker {
        let environment = ProcessInfo.processInfo.environment["RABBITMQ_URL"]
        let uri = url ?? environment.flatMap { $0.isEmpty ? nil : $0 } ?? "amqp://localhost"
        var broker: RabbitBroker
        do throws(RabbitError) {
            broker = try RabbitBroker(uri: uri)
        } catch {
            throw ToolFailure(
                "\(url == nil ? "RABBITMQ_URL" : "--url"): \(error.reason)",
                status: ToolFailure.usageStatus
            )
        }
        if let ca {
            guard broker.tls != nil else { throw ToolFailure("--ca needs amqps://", status: ToolFailure.usageStatus) }
            broker.tls?.certificateAuthority = ca
        }
        broker.connectionName = broker.connectionName ?? "rabbit-delivery"
        return broker
    }

    /// What happens to the connection on standard error where that was asked for; otherwise why there is none.
    var logger: Logger {
        Logger(label: "rabbit-delivery") { label -> any LogHandler in
            if verbose { StreamLogHandler.standardError(label: label) } else { TroubleLog() }
        }
    }
}

extension ToolFailure {
    init(_ error: RabbitError) {
        self.init("\(error)")
    }
}
