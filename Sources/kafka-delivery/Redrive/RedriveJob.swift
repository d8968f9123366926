import Foundation
import KafkaDelivery
import Logging
import Synchronization
import ToolSupport

/// One run of `redrive`.
struct RedriveJob: Sendable {
    let isDry: Bool
    let isJSON: Bool
    let configuration: KafkaRedrive.Configuration
    let producer: KafkaProducer.Configuration
    /// Log lines and a line that is drawn over and over do not go together.
    let mayShowProgress: Bool
    let logger: Logger

    func run() async throws {
        let redrive = KafkaRedrive(configuration, logger: logger)
        let listing = RedriveListing(self)
        let start = ContinuousClock.now
        try await withInterruption { interruption in
            let running = Task { try await self.redrive(redrive, listing) }
            interruption.onSignal { running.cancel() }
            let result = await running.result
            let writeError = await listing.finish()
            try self.report(result, writeError, listing.counts, start.duration(to: .now), interruption)
        }
    }

    private func redrive(_ redrive: KafkaRedrive, _ listing: RedriveListing) async throws -> KafkaRedrive.Summary {
        if isDry {
            if mayShowProgress { StandardError.show(status: "reading \(configuration.topic) …") }
            return try await redrive.preview(for: producer) { letter, outcome in try await listing.add(letter, outcome)
            }
        }
        return try await withKafkaProducer(producer, logger: logger) { producer in
            try await redrive.run(with: producer) { letter, outcome in try await listing.add(letter, outcome) }
        }
    }

    /// Says what became of everything.
    private func report(
        _ result: Result<KafkaRedrive.Summary, any Error>,
        _ writeError: SystemError?,
        _ counts: RedriveListing.Counts,
        _ elapsed: Duration,
        _ interruption: Interruption
    ) throws {
        var failure: String?
        var summary: KafkaRedrive.Summary?
        switch result {
        case .success(let done): summary = done
        case .failure(let error as KafkaError): failure = error.sentence
        // The reader has gone, and that is how `redrive … | head` is meant to end.
        case .failure(let error as SystemError): failure = error.isBrokenPipe ? nil : "standard output: \(error.text)"
        case .failure(is CancellationError): failure = "interrupted; the rest stays for a later run"
        case .failure(let error): failure = "\(error)"
        }
        if let writeError, !writeError.isBrokenPipe { failure = failure ?? "standard output: \(writeError.text)" }
        let text = RedriveSummary(isDry: isDry, configuration: configuration, counts: counts, elapsed: elapsed)
        if failure != nil || text.isIncomplete(summary) {
            let sentences = [failure].compactMap(\.self) + text.sentences(summary)
            throw ToolFailure(sentences.joined(separator: "\n"), status: interruption.status ?? 1)
        }
        StandardError.say(text.sentences(summary).joined(separator: "\n"))
    }
}

/// What `redrive` says at the end.
struct RedriveSummary {
    let isDry: Bool
    let configuration: KafkaRedrive.Configuration
    let counts: RedriveListing.Counts
    let elapsed: Duration

    /// Whether something that was selected was not redriven.
    func isIncomplete(_ summary: KafkaRedrive.Summary?) -> Bool {
        guard !isDry, let summary else { return false }
        return summary.refused > 0 || summary.unsendable > 0 || !summary.scatteredPartitions.isEmpty
            || !summary.partitionsOfOthers.isEmpty
    }

    func sentences(_ summary: KafkaRedrive.Summary?) -> [String] {
        let number = count(counts.redriven, "dead letter")
        var sentences = [
            isDry ? "\(number) would be redriven; nothing was sent" : "\(number) redriven in \(elapsed.short)"
        ]
        if counts.refused > 0 {
            sentences.append("\(counts.refused.grouped) left: refused, \(counts.refusal ?? "for different reasons")")
        }
        if counts.failed > 0 { sentences.append("\(count(counts.failed, "replay")) not confirmed; they stay") }
        guard let summary else { return sentences }
        if summary.filtered > 0 { sentences.append("\(summary.filtered.grouped) left, as the filters say") }
        if summary.redrivenBefore > 0 {
            sentences.append("\(summary.redrivenBefore.grouped) passed over: redriven before")
        }
        if counts.often > 0 {
            let times = count(configuration.maximumRedrives, "time")
            sentences.append("\(counts.often.grouped) left: redriven \(times) already (--maximum-redrives)")
        }
        if counts.returning > 0 {
            sentences.append(
                "\(counts.returning.grouped) left: they came from \(configuration.topic) itself (--to TOPIC)"
            )
        }
        if summary.notDeadLetters > 0 {
            sentences.append("\(summary.notDeadLetters.grouped) left: without the headers of a dead letter")
        }
        if summary.reachedMaximum { sentences.append("stopped at --maximum; there may be more") }
        if !summary.scatteredPartitions.isEmpty {
            sentences.append(
                "stopped in \(list(summary.scatteredPartitions)): no more separate letters can be remembered there; "
                    + "redrive what was left before them first"
            )
        }
        if !summary.partitionsOfOthers.isEmpty {
            sentences.append(
                "another member of the group \(configuration.group) has \(list(summary.partitionsOfOthers))"
            )
        }
        return sentences
    }

    private func list(_ partitions: Set<Int>) -> String {
        let numbers = partitions.sorted().map { "\($0)" }.joined(separator: ", ")
        return "partition\(partitions.count == 1 ? "" : "s") \(numbers)"
    }
}
