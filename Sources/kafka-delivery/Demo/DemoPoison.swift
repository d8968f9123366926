import Dispatch
import KafkaDelivery
import Logging
import Synchronization
import ToolSupport

/// An event that cannot be handled: it is tried again, becomes a dead letter, is looked at, and is redriven once the
/// handler was mended.
struct DemoPoison: Sendable {
    private struct UnknownRegion: Error, CustomStringConvertible {
        let description = "no region is called Atlantis"
    }

    /// What the tasks of this part share.
    private final class Handler: Sendable {
        let key: KafkaBytes
        private let isMended = Atomic(false)
        private let say: @Sendable (String) -> Void
        private let style: Style
        let done: AsyncStream<Int64>
        private let finish: AsyncStream<Int64>.Continuation

        init(key: KafkaBytes, style: Style, say: @escaping @Sendable (String) -> Void) {
            self.key = key
            self.style = style
            self.say = say
            (done, finish) = AsyncStream.makeStream()
        }

        func mend() {
            isMended.store(true, ordering: .releasing)
        }

        func handle(_ delivery: KafkaConsumer.Delivery) throws {
            guard delivery.key == key else { return }
            guard isMended.load(ordering: .acquiring) else {
                let error = UnknownRegion()
                say("\(style.red("✗")) attempt \(delivery.attempt): \(error)")
                throw error
            }
            finish.yield(delivery.offset)
        }
    }

    private static let attempts = 3
    private static let pause = Duration.milliseconds(150)
    /// How long all of this may take.
    private static let patience = 60

    let isMock: Bool
    let topic: String
    let producer: KafkaProducer.Configuration
    let redrive: KafkaRedrive.Configuration
    let logger: Logger
    let style: Style
    let say: @Sendable (String) -> Void

    /// - Parameter client: A consumer that has the topic's partitions.
    func run(_ client: KafkaConsumer) async throws {
        let working = Task { try await self.work(client) }
        // By the clock, because a message that does not come gives no sign.
        DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Self.patience)) { working.cancel() }
        try await withTaskCancellationHandler {
            try await working.value
        } onCancel: {
            working.cancel()
        }
    }

    private func work(_ client: KafkaConsumer) async throws {
        say("")
        say(style.bold("And what cannot be handled?"))
        say("Sending an earthquake in Atlantis, of which the handler has never heard …")
        let number = Int64.random(in: 0..<1_000_000_000)
        let handler = Handler(key: KafkaBytes("atlantis-\(number)"), style: style, say: say)
        try await withKafkaProducer(producer, logger: logger) { producer in
            let events = client.events
            let handling = Task {
                try await client.forEach(
                    concurrency: .perKey(maximum: 8),
                    retry: .fixed(Self.pause, maximumAttempts: Self.attempts),
                    deadLetters: KafkaDeadLetters(producer: producer)
                ) { delivery in try handler.handle(delivery) }
            }
            defer { handling.cancel() }
            let start = ContinuousClock.now
            let value = """
                {"id":"\(handler.key)","magnitude":7.3,"region":"Atlantis","place":"somewhere under the sea"}
                """
            let sent = try await producer.send(KafkaMessage(topic: topic, key: handler.key, value: value))
            let letter = try await deadLetter(of: sent, events)
            say("\(style.green("✓")) given up: its dead letter is confirmed, and only then it counts as settled")
            try await list(sent)

            say("")
            say(
                "Atlantis is put on the map, and the dead letter redriven\(isMock ? " (a first join waits 3 s)" : "") …"
            )
            handler.mend()
            try await redrive(letter, with: producer)
            guard let offset = await handler.done.first(where: { _ in true }) else { throw CancellationError() }
            let elapsed = start.duration(to: .now).short
            say(
                "\(style.green("✓")) \(style.bold("handled at last")), at offset \(offset), \(elapsed) after it was sent"
            )
        }
    }

    /// Waits until the event is given up and its dead letter stored.
    private func deadLetter(
        of sent: KafkaDeliveryReport,
        _ events: KafkaConsumer.Events
    ) async throws -> KafkaDeliveryReport {
        for await event in events {
            switch event {
            case .deadLettered(let source, let report) where source.offset == sent.offset: return report
            case .deadLetterFailed(_, let error):
                throw ToolFailure("the dead letter could not be published: \(error.sentence)")
            default: continue
            }
        }
        throw CancellationError()
    }

    /// Shows what `redrive --dry-run` would.
    private func list(_ sent: KafkaDeliveryReport) async throws {
        let rows = Mutex<[RedriveTable.Row]>([])
        try await KafkaRedrive(only(sent), logger: logger).preview { letter, outcome in
            guard case .selected = outcome else { return }
            rows.withLock { $0.append(RedriveTable.Row(letter, outcome)) }
        }
        let found = rows.withLock { $0 }
        let table = RedriveTable(found, isDry: true, columns: Platform.outputColumns.map { $0 - 4 }, style: style)
        for line in [table.heading] + found.map(table.line) { say("  \(line.dropLast())") }
    }

    private func redrive(_ letter: KafkaDeliveryReport, with producer: KafkaProducer) async throws {
        var configuration = redrive
        configuration.filter.partitions = [letter.partition]
        configuration.filter.offsets = letter.offset..<letter.offset + 1
        let summary = try await KafkaRedrive(configuration, logger: logger).run(with: producer) { _, outcome in
            guard case .redriven(let report) = outcome else { return }
            let position = "\(report.topic) [\(report.partition)] at \(report.offset)"
            say("\(style.green("✓")) redriven to \(position), confirmed, and remembered as redriven")
        }
        guard summary.redriven == 1 else { throw ToolFailure("the dead letter was not redriven") }
    }

    /// The one dead letter of this demonstration, for the topic may have others.
    private func only(_ sent: KafkaDeliveryReport) -> KafkaRedrive.Configuration {
        var configuration = redrive
        configuration.filter.predicate = { letter in
            letter.deadLetter?.originalPartition == sent.partition && letter.deadLetter?.originalOffset == sent.offset
        }
        return configuration
    }
}
