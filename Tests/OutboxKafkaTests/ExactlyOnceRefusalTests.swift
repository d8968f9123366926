import CRdKafka
import Foundation
import KafkaDelivery
import KafkaDeliveryTesting
import OutboxDelivery
import OutboxKafka
import OutboxPostgres
import Testing

/// What brokers refuse: with no word about which record is at fault, for all of them together, or for want of a right.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct ExactlyOnceRefusalTests {
    private static let hasAuthorizer = Task {
        guard let servers = ExactlyOnceFixture.realServers else { return false }
        return await ClusterAdministration(servers: servers).hasAuthorizer
    }

    /// A topic whose broker takes batches of at most 4,000 bytes; a mock broker is told what to refuse.
    private func fixture() async throws -> ExactlyOnceFixture {
        try await ExactlyOnceFixture.make(topicSettings: ["max.message.bytes": "4000"])
    }

    private func publish(_ fixture: ExactlyOnceFixture, with destination: KafkaExactlyOnceDestination) async throws {
        let publisher = fixture.publisher(destination)
        async let running: Void = publisher.run()
        try await fixture.waitUntilPublished()
        await publisher.close()
        try await running
    }

    private func rows(_ fixture: ExactlyOnceFixture, _ sizes: [Int], topic: String? = nil, key: String? = "k")
        -> [OutboxMessage]
    {
        sizes.enumerated().map { index, size in
            OutboxMessage(
                topic: topic ?? fixture.name,
                key: key ?? "\(topic == nil ? "k" : "d")\(index)",
                // Random, or it would be compressed.
                payload: Array("\(index) ".utf8)
                    + (0..<size).map { _ in UInt8.random(in: UInt8(ascii: "a")...UInt8(ascii: "z")) },
                attributes: topic == nil ? ["partition": "0"] : [:]
            )
        }
    }

    private func numbers(_ fixture: ExactlyOnceFixture) async throws -> [Int] {
        try await fixture.committed().compactMap { Int($0.value.prefix { $0 != " " }) }
    }

    @Test func recordsThatAreTooLargeOnlyTogetherAreStoredInOrderAndOnce() async throws {
        let fixture = try await fixture()
        let isMock = ExactlyOnceFixture.realServers == nil
        let count = isMock ? 20 : 200
        try await fixture.writer.query(
            fixture.outbox.table.insert(rows(fixture, [Int](repeating: 1_500, count: count)))
        )
        try fixture.mock?.inject([.messageTooLarge], into: .produce)
        // However slow the machine is, the request that a mock broker refuses has more than one record. One by one each waits for as long.
        try await publish(
            fixture,
            with: try fixture.destination { if isMock { $0.producer.linger = .milliseconds(500) } }
        )
        #expect(try await fixture.outbox.parked(key: nil, limit: 10).isEmpty)
        if !isMock { #expect(try await numbers(fixture) == Array(0..<count)) }
        await fixture.close()
    }

    @Test func theOneOfManyThatABrokerRefusesIsParkedAndTheOthersAreStoredOnce() async throws {
        let fixture = try await fixture()
        var sizes = [Int](repeating: 20, count: 40)
        sizes[17] = 6_000
        try await fixture.writer.query(fixture.outbox.table.insert(rows(fixture, sizes, key: nil)))
        // On the mock cluster: the batches of a few slots, and of one of these a record by itself.
        try fixture.mock?.inject([.messageTooLarge, .messageTooLarge], into: .produce)
        try await publish(fixture, with: try fixture.destination())
        let parked = try await fixture.outbox.parked(key: nil, limit: 10)
        if ExactlyOnceFixture.realServers != nil {
            #expect(parked.map { $0.event.message.payload?.prefix(3) } == [Array("17 ".utf8)[...]])
            #expect(try await numbers(fixture).sorted() == (0..<40).filter { $0 != 17 })
        }
        await fixture.close()
    }

    /// All of one key, so that they are in one batch and no error is another batch's.
    @Test(.enabled(if: ExactlyOnceFixture.realServers == nil, "says what a mock broker answers to which request"))
    func aCulpritIsFoundByTheAnswerToItAlone() async throws {
        let fixture = try await fixture()
        try await fixture.writer.query(
            fixture.outbox.table.insert(rows(fixture, [Int](repeating: 20, count: 10)))
        )
        try fixture.mock?.inject([.invalidRecord, .none, .none, .none, .invalidRecord], into: .produce)
        // In one request, though the producer's thread is sooner than the task that hands them over.
        try await publish(fixture, with: try fixture.destination { $0.producer.linger = .seconds(1) })
        let parked = try await fixture.outbox.parked(key: nil, limit: 10)
        // With its followers.
        #expect(parked.map { $0.event.message.payload?.first } == "3456789".utf8.map(Optional.some))
        #expect(parked.first?.attempts == 1)
        await fixture.close()
    }

    @Test(.enabled(if: ExactlyOnceFixture.realServers == nil, "says what a mock broker answers to which request"))
    func aTopicThatIsRefusedToTheTransactionParksItsRowsAfterThreeAttempts() async throws {
        let fixture = try await fixture()
        try await fixture.writer.query(fixture.outbox.table.insert(rows(fixture, [20, 20])))
        try fixture.mock?.inject(
            [MockCluster.InjectedError](repeating: .topicAuthorizationFailed, count: 3),
            into: .addPartitionsToTransaction
        )
        try await publish(fixture, with: try fixture.destination())
        let parked = try await fixture.outbox.parked(key: nil, limit: 10)
        #expect(parked.map(\.attempts) == [3, 0] && parked.first?.reason.contains("uthorization") == true)
        await fixture.close()
    }

    @Test(
        .enabled("needs KAFKA_BOOTSTRAP_SERVERS with an authorizer, and allow.everyone.if.no.acl.found") {
            await hasAuthorizer.value
        },
        arguments: [
            [RD_KAFKA_ACL_OPERATION_DESCRIBE, RD_KAFKA_ACL_OPERATION_READ],
            [RD_KAFKA_ACL_OPERATION_DESCRIBE, RD_KAFKA_ACL_OPERATION_WRITE],
            [RD_KAFKA_ACL_OPERATION_ALTER],
        ]
    )
    func rowsForATopicThatMayNotBeWrittenReadOrDescribedAreParkedAndTheOthersOfTheirSlotsAreStoredOnce(
        _ rights: [rd_kafka_AclOperation_t]
    ) async throws {
        let fixture = try await fixture()
        let denied = fixture.name + "denied"
        let administration = ClusterAdministration(servers: fixture.servers)
        try await administration.createTopic(denied)
        try await administration.allow(rights, on: denied)
        // Of many keys, so that every slot has some of each; the first ones are those whose topic is the notes'.
        try await fixture.writer.query(
            fixture.outbox.table.insert(rows(fixture, [Int](repeating: 20, count: 60), topic: denied, key: nil))
        )
        try await fixture.write(400, keys: 200)
        try await publish(fixture, with: try fixture.destination())
        let anomaly = ExactlyOnceFixture.check(try await fixture.committed(), count: 400)
        #expect(anomaly == nil)
        let parked = try await fixture.outbox.parked(key: nil, limit: 1_000)
        #expect(parked.count(where: { $0.event.message.topic == denied }) == 60)
        await fixture.close()
    }
}
