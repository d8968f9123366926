import Logging
import Testing

@testable import KafkaDelivery

/// Whose turn it is, without a broker: nothing listens on port 1.
@Suite(.timeLimit(.minutes(5)))
struct ReadyPartitionsTests {
    private static func makeConsumer() throws -> KafkaConsumer {
        try KafkaConsumer(
            KafkaConsumer.Configuration(bootstrapServers: ["127.0.0.1:1"], group: "g", topics: ["t"]),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
    }

    private static func makeReaders(_ count: Int, _ consumer: KafkaConsumer) throws -> [PartitionReader] {
        try (0..<count).map { number in
            let partition = KafkaTopicPartition(topic: "t", partition: number)
            return PartitionReader(
                partition,
                generation: 1,
                core: consumer.core,
                queue: try #require(RdKafkaQueue.partition(partition, of: try consumer.core.usableClient())),
                startingOffset: 0,
                configuration: consumer.core.configuration
            )
        }
    }

    private static func look(
        _ wake: ReadyPartitions<PartitionReader>.Wake?
    ) throws -> (reader: PartitionReader, news: ReadyPartitions<PartitionReader>.News) {
        let found: (PartitionReader, ReadyPartitions<PartitionReader>.News)? =
            if case .look(let reader, let news) = wake { (reader, news) } else { nil }
        return try #require(found)
    }

    /// How many turns of a loop go by until a partition has one, while another never has nothing to read.
    private func turns(
        until wanted: PartitionReader,
        beside busy: PartitionReader,
        _ ready: inout ReadyPartitions<PartitionReader>
    ) -> Int? {
        for turn in 1...100 {
            guard case .look(let reader, _) = ready.next() else { return nil }
            if reader === wanted { return turn }
            #expect(reader === busy)
            // It leaves off after some deliveries, and there are more.
            #expect(ready.putBack(reader) == nil)
        }
        return nil
    }

    @Test func aPartitionWhoseLoopWasLeftHasItsTurnBesideOneThatNeverHasNothingToRead() async throws {
        let consumer = try Self.makeConsumer()
        let readers = try Self.makeReaders(2, consumer)
        var ready = ReadyPartitions<PartitionReader>()
        #expect(ready.signal(readers[0]).isEmpty)
        // The loop that begins with it is left, and says nothing of that.
        #expect(try Self.look(ready.next()).reader === readers[0])
        #expect(ready.signal(readers[1]).isEmpty)
        let turns = turns(until: readers[0], beside: readers[1], &ready)
        #expect(try #require(turns) <= 8)
        await consumer.close(within: .zero)
    }

    @Test func aPartitionWithALoopOfItsOwnComesAfterAllOthers() async throws {
        let consumer = try Self.makeConsumer()
        let readers = try Self.makeReaders(2, consumer)
        var ready = ReadyPartitions<PartitionReader>()
        #expect(ready.signal(readers[0]).isEmpty)
        ready.beginOwnLoop(readers[0], by: nil)
        #expect(ready.signal(readers[1]).isEmpty)
        #expect(turns(until: readers[0], beside: readers[1], &ready) == nil)
        // Where there is no other it is read all the same.
        let (other, news) = try Self.look(ready.next())
        #expect(other === readers[1])
        ready.foundNothing(in: other, since: news)
        #expect(try Self.look(ready.next()).reader === readers[0])
        await consumer.close(within: .zero)
    }

    @Test func aWaitWhoseTimeIsUpEndsHoweverSoonThatIs() async throws {
        let consumer = try Self.makeConsumer()
        for _ in 0..<5_000 {
            guard await consumer.core.nextReady(until: .now, unless: nil) == nil else {
                Issue.record("there is nothing to read")
                break
            }
        }
        await consumer.close(within: .zero)
    }
}
