import CoreMetrics
import DeliveryCore
import Logging
import Synchronization
import Testing

@testable import RabbitDelivery

/// Metrics are handed on by the connection's thread, which holds no lock meanwhile: their backend may ask the client.
@Suite struct MetricsTests {
    /// A backend that runs a closure for each number that it gets.
    final class AskingFactory: MetricsFactory, CounterHandler, RecorderHandler, TimerHandler {
        private let state = Mutex<(ask: (@Sendable () -> Void)?, labels: Set<String>)>((nil, []))

        func ask(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.ask = body } }
        private func ask() { state.withLock { $0.ask }?() }
        private func note(_ label: String) { state.withLock { _ = $0.labels.insert(label) } }

        var labels: Set<String> { state.withLock { $0.labels } }

        func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
            note(label)
            return self
        }

        func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
            note(label)
            return self
        }

        func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
            note(label)
            return self
        }

        func destroyCounter(_ handler: any CounterHandler) {}
        func destroyRecorder(_ handler: any RecorderHandler) {}
        func destroyTimer(_ handler: any TimerHandler) {}

        func increment(by amount: Int64) { ask() }
        func reset() {}
        func record(_ value: Int64) { ask() }
        func record(_ value: Double) { ask() }
        func recordNanoseconds(_ duration: Int64) { ask() }
    }

    @Test func aConsumersMetricsMayAskIt() async throws {
        let factory = AskingFactory()
        var configuration = RabbitConsumer.Configuration(hosts: ["localhost"], queue: "orders")
        configuration.metricsFactory = factory
        let core = try ConsumerCore(configuration, logger: Logger(label: "RabbitDeliveryTests"))
        let answers = Mutex<[Bool]>([])
        // What is behind the lock of the consumer's life.
        factory.ask { [weak core] in
            guard let wantsEnd = core?.wantsEnd else { return }
            answers.withLock { $0.append(wantsEnd) }
        }
        _ = core.advance(nil, at: .now)
        #expect(answers.withLock { $0.count } == 7)
        core.note(.rejected(queue: "orders"))
        #expect(answers.withLock { $0.count } == 8)
        core.ended()
        #expect(answers.withLock { $0.count } == 15)
    }

    @Test func aPublishersMetricsMayAskIt() async throws {
        let factory = AskingFactory()
        var configuration = RabbitPublisher.Configuration(hosts: ["localhost"])
        configuration.metricsFactory = factory
        configuration.confirmTimeout = .seconds(1)
        let core = try PublisherCore(configuration, logger: Logger(label: "RabbitDeliveryTests"))
        let answers = Mutex<[Bool]>([])
        factory.ask { [weak core] in
            guard let wantsEnd = core?.wantsEnd else { return }
            answers.withLock { $0.append(wantsEnd) }
        }
        let start = Moment.now
        _ = core.advance(nil, at: start)
        #expect(answers.withLock { $0.count } == 2)
        // One that is too late counts, by its kind.
        let batch = SendBatch()
        let send = try core.queued(RabbitMessage(queue: "orders", body: "late"), .batch(batch, batch.add()))
        #expect(try core.offer(send))
        _ = core.advance(nil, at: start.advanced(by: .seconds(60)))
        #expect(answers.withLock { $0.count } == 5)
        #expect(factory.labels.contains("rabbitmq_publisher_messages_failed_total"))
        core.beginClosing(within: .zero)
        _ = core.advance(nil, at: start.advanced(by: .seconds(61)))
        #expect(answers.withLock { $0.last } == true)
        core.ended()
    }
}
