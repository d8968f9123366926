import KafkaDelivery
import KafkaDeliveryTesting
import Logging
import ToolSupport

/// Sends numbered messages through a bad network, and keeps what it is told of each.
struct ExperimentSender {
    /// How many sends are awaited at a time.
    private static let window = 200

    let mode: ExperimentMode
    let configuration: KafkaProducer.Configuration
    let topic: String
    let messages: Int
    let logger: Logger
    /// Called with how many have their outcome.
    let progress: @Sendable (Int) -> Void

    struct Sent: Sendable {
        var answers: [Int: ExperimentTally.Answer] = [:]
        var latencies: [Duration] = []
        var elapsed = Duration.zero
    }

    /// What a mode makes of a producer's settings.
    static func configure(_ configuration: inout KafkaProducer.Configuration, for mode: ExperimentMode) {
        switch mode {
        case .atMostOnce:
            configuration.idempotence = false
            configuration.acknowledgements = .none
            configuration.additionalProperties["message.send.max.retries"] = "0"
        case .atLeastOnce:
            configuration.idempotence = false
        case .idempotent, .transactional, .commitBefore, .commitAfter, .transform:
            break
        }
    }

    /// What every producer of an experiment has: small batches, and little time lost to a cut connection.
    static func prepare(_ configuration: inout KafkaProducer.Configuration) {
        configuration.messageTimeout = .seconds(60)
        configuration.additionalProperties["batch.num.messages"] = "\(ExperimentProfile.batchMessages)"
        configuration.additionalProperties["reconnect.backoff.ms"] = "10"
        configuration.additionalProperties["reconnect.backoff.max.ms"] = "50"
        configuration.additionalProperties["retry.backoff.ms"] = "10"
    }

    /// The value is the number.
    static func message(_ number: Int, _ topic: String) -> KafkaMessage {
        KafkaMessage(topic: topic, partition: 0, value: "\(number)")
    }

    /// - Parameter relay: Whose faults begin with the first message: connecting is not what is shown.
    func run(_ relay: FaultRelay, faults: FaultRelay.Faults) async throws -> Sent {
        if mode == .atMostOnce { try await makeTopic() }
        return try await withKafkaProducer(configuration, logger: logger) { producer in
            // Connects, and finds the topic.
            try await producer.send(KafkaMessage(topic: topic, partition: 0, value: "-1"))
            relay.faults = faults
            let start = ContinuousClock.now
            var sent = try await send(with: producer)
            sent.elapsed = start.duration(to: .now)
            return sent
        }
    }

    /// Waits for a confirmation, which this mode does without: a broker that has just made the topic may not have its partition
    /// yet, and what is lost to that is not the network's doing.
    private func makeTopic() async throws {
        var configuration = configuration
        configuration.acknowledgements = .all
        configuration.additionalProperties["message.send.max.retries"] = nil
        try await withKafkaProducer(configuration, logger: logger) { producer in
            _ = try await producer.send(KafkaMessage(topic: topic, partition: 0, value: "-1"))
        }
    }

    private func send(with producer: KafkaProducer) async throws -> Sent {
        typealias Outcome = (number: Int, answer: ExperimentTally.Answer, latency: Duration)
        return try await withThrowingTaskGroup(of: Outcome.self) { group in
            var sent = Sent()
            func take(_ outcome: Outcome) {
                sent.answers[outcome.number] = outcome.answer
                if outcome.answer == .confirmed { sent.latencies.append(outcome.latency) }
                progress(sent.answers.count)
            }
            for number in 0..<messages {
                if number >= Self.window, let outcome = try await group.next() { take(outcome) }
                try Task.checkCancellation()
                let start = ContinuousClock.now
                do throws(KafkaError) {
                    let pending = try await producer.enqueue(Self.message(number, topic))
                    group.addTask {
                        do throws(KafkaError) {
                            _ = try await pending.report
                            return (number, .confirmed, start.duration(to: .now))
                        } catch {
                            return (number, Self.answer(error), .zero)
                        }
                    }
                } catch {
                    let answer = Self.answer(error)
                    group.addTask { (number, answer, .zero) }
                }
            }
            for try await outcome in group { take(outcome) }
            return sent
        }
    }

    static func answer(_ error: KafkaError) -> ExperimentTally.Answer {
        error.persistence == .possiblyPersisted ? .unknown : .failed
    }
}
