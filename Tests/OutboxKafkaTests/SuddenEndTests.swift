import DeliveryTesting
import Foundation
import KafkaDelivery
import OutboxDelivery
import OutboxKafka
import Testing

@Suite(.serialized, .timeLimit(.minutes(3)))
struct SuddenEndTests {
    /// Each step of a publisher's work, before and after what it does.
    private static let steps = [
        "opened", "balanced", "maintained", "read", "publishing", "published", "settling", "settled",
    ]

    @Test(arguments: steps)
    func noEventIsLostAndFirstOccurrencesAreInOrderWhenThePublisherIsKilledAt(_ step: String) async throws {
        let fixture = try await ExactlyOnceFixture.make()
        try await fixture.write(400)
        // A step that comes with each batch: not at the first one.
        let isOfBatches = !["opened", "balanced", "maintained"].contains(step)
        let process = try fixture.process(step, count: isOfBatches ? 3 : 1, exactlyOnce: false)
        #expect(await process.end() == .signal(SIGKILL))
        let destination = try KafkaOutboxDestination(
            .init(bootstrapServers: fixture.servers),
            logger: ExactlyOnceFixture.logger
        )
        let publisher = fixture.publisher(destination)
        async let running: Void = publisher.run()
        try await fixture.waitUntilPublished()
        await publisher.close()
        try await running
        await destination.close()
        // What comes again is what was under way: four batches at most.
        let repeats = step == "opened" || step == "balanced" ? 0 : 4 * 64
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 400, repeats: repeats)
        #expect(anomaly == nil)
        await fixture.close()
    }
}
