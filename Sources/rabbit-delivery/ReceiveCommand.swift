import ArgumentParser
import Foundation
import RabbitDelivery
import Synchronization
import ToolSupport

struct ReceiveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "receive",
        abstract: "Writes messages to standard output, and acknowledges each after it is written.",
        discussion: """
            A message is acknowledged once the system has taken all of its bytes; what could not be written is \
            delivered again.

              rabbit-delivery receive billing
              rabbit-delivery receive billing --format json --count 10

            --format value (the default) writes the body and a line feed. --format json writes one object a line: exchange, \
            routing_key, redelivered, headers and body; what is not UTF-8 is base64 under body_base64.

            SIGINT and SIGTERM end it in good order. A second signal ends the process at once.

            Exit status: 0 when it ended as asked, by a signal where no end was asked for, or because nobody reads its \
            output any more; 1 when the output could not be written, the broker refused, or it may not have all \
            acknowledgements; 64 when the command line is wrong; 130 or 143 when SIGINT or SIGTERM came before the end \
            that --count asked for.
            """
    )

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case value
        case json
    }

    @OptionGroup(title: "Broker")
    var options: BrokerOptions

    @Argument(help: "The queue.")
    var queue: String

    @Option(name: .shortAndLong, help: "value or json.")
    var format: Format = .value

    @Option(name: .shortAndLong, parsing: .unconditional, help: "End after so many messages.")
    var count: Int?

    @Option(parsing: .unconditional, help: "How many messages may be without an acknowledgement, 1 to 65535.")
    var prefetch: Int = 250

    func validate() throws {
        guard !queue.isEmpty else { throw ValidationError("The queue's name is empty.") }
        if let count, count < 1 { throw ValidationError("--count \(count): 1 or more are possible.") }
        guard (1...65_535).contains(prefetch) else {
            throw ValidationError("--prefetch \(prefetch): 1 to 65535 are possible.")
        }
    }

    func run() async throws {
        // Not more than will be written: what is fetched besides is marked as redelivered when it goes back.
        let configuration = RabbitConsumer.Configuration(
            try options.broker(),
            queue: queue,
            prefetch: min(prefetch, count ?? prefetch)
        )
        try await withInterruption { interruption in
            let problems: [String]
            do throws(RabbitError) {
                problems = try await receive(try RabbitConsumer(configuration, logger: options.logger), interruption)
            } catch {
                throw ToolFailure(error)
            }
            if !problems.isEmpty { throw ToolFailure(problems.joined(separator: "\n")) }
            if count != nil, let status = interruption.status { throw ToolFailure("interrupted", status: status) }
        }
    }

    /// - Returns: What went wrong, a sentence each.
    private func receive(
        _ consumer: RabbitConsumer,
        _ interruption: Interruption
    ) async throws(RabbitError) -> [String] {
        let output = Output(STDOUT_FILENO)
        interruption.onSignal { Task { await consumer.close(within: .seconds(5)) } }
        output.whenReaderGoes { Task { await consumer.close(within: .seconds(5)) } }
        // There may never be another message whose writing says so.
        output.whenFailed { Task { await consumer.close(within: .seconds(5)) } }
        var written = 0
        // The output's thread counts, and how many were late and have not come again.
        let acknowledged = Mutex((count: 0, late: 0))
        var problem: SystemError?
        var iterator = consumer.deliveries.makeAsyncIterator()
        do {
            while written < count ?? .max, let delivery = try await iterator.next() {
                try await output.write(line(delivery)) {
                    acknowledged.withLock { acknowledged in
                        acknowledged.count += 1
                        if delivery.isRedelivered { acknowledged.late = max(acknowledged.late - 1, 0) }
                        if !delivery.isCurrent { acknowledged.late += 1 }
                    }
                    delivery.acknowledge()
                }
                written += 1
            }
            try await output.flush()
        } catch let error as SystemError {
            problem = error
        } catch let error as RabbitError {
            await consumer.close(within: .seconds(5))
            throw error
        } catch {}
        let summary = await consumer.close(within: .seconds(5))
        var problems: [String] = []
        // The reader has gone, and that is how `receive … | head` is meant to end.
        if let problem, !problem.isBrokenPipe { problems.append("standard output: \(problem.text)") }
        let counts = acknowledged.withLock { $0 }
        let doubt = AcknowledgementDoubt(
            acknowledged: counts.count,
            // Where all is written, what was still in hand when the channel was closed is written too.
            late: counts.late + (problem == nil ? summary.unsettled : 0),
            reachedBroker: summary.acknowledgementsReachedBroker
        )
        if let sentence = doubt.sentence { problems.append(sentence) }
        return problems
    }

    private func line(_ delivery: RabbitConsumer.Delivery) -> [UInt8] {
        if format == .value { return delivery.body + [0x0A] }
        var json = JSONWriter()
        json.raw("{\"exchange\":")
        json.string(delivery.exchange)
        json.raw(",\"routing_key\":")
        json.string(delivery.routingKey)
        json.raw(",\"redelivered\":\(delivery.isRedelivered),\"headers\":")
        json.table(delivery.headers)
        json.raw(",")
        json.field("body", bytes: delivery.body)
        json.raw("}\n")
        return json.bytes
    }
}

extension JSONWriter {
    mutating func table(_ table: RabbitTable) {
        raw("{")
        for (index, entry) in table.entries.enumerated() {
            if index > 0 { raw(",") }
            string(entry.name)
            raw(":")
            value(entry.value)
        }
        raw("}")
    }

    private mutating func value(_ value: RabbitFieldValue) {
        switch value {
        case .bool(let value): raw("\(value)")
        case .table(let value): table(value)
        case .array(let values):
            raw("[")
            for (index, each) in values.enumerated() {
                if index > 0 { raw(",") }
                self.value(each)
            }
            raw("]")
        case .void: raw("null")
        case .string(let text): string(text)
        case .bytes(let bytes): string(Base64.text(bytes))
        // Numbers that JSON has; infinities are text.
        case .float(let value): value.isFinite ? raw("\(value)") : string("\(value)")
        case .double(let value): value.isFinite ? raw("\(value)") : string("\(value)")
        case .decimal: string("\(value)")
        case .timestamp(let time): raw("\(time.secondsSince1970)")
        default: raw("\(value)")
        }
    }
}
