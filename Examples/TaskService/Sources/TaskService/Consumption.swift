import KafkaDelivery
import ServiceLifecycle

/// The consumer, as a service: it ends when its consumer is closed, which a shutdown does.
struct Consumption: Service {
    let consumer: KafkaConsumer
    let store: any WorkStore

    func run() async throws {
        try await store.consume(consumer)
    }
}
