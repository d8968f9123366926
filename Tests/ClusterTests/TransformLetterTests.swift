import KafkaDelivery
import KafkaDeliveryTesting
import Testing

/// What `transform` gives up is part of its transactions; where that can never be, the transactions go on without it.
@Suite(.timeLimit(.minutes(3)))
struct TransformLetterTests {
    struct Failure: Error, CustomStringConvertible {
        var description: String { String(repeating: "x", count: 4_000) }
    }

    private static let limit = 10_000

    private struct Setting {
        let cluster: TestCluster
        let input: String
        let output: String
        var letters: String { input + "-dlt" }
        let producer: KafkaTransactionalProducer

        /// - Parameter counts: How large the values of each partition are.
        init(
            _ counts: [[Int]],
            name: String = #function,
            _ change: (inout KafkaTransactionalProducer.Configuration) -> Void = { _ in }
        ) async throws {
            cluster = try TestCluster()
            input = try await cluster.makeTopic(partitions: counts.count, name: name + "in")
            output = try await cluster.makeTopic(name: name + "out")
            try await cluster.makeTopic(exactly: input + "-dlt")
            let input = input
            try await withKafkaProducer(cluster.producerConfiguration(), logger: .test) { producer in
                for (partition, counts) in counts.enumerated() {
                    for count in counts {
                        let value = String(repeating: "v", count: count)
                        try await producer.send(KafkaMessage(topic: input, partition: partition, value: value))
                    }
                }
            }
            var configuration = cluster.transactionalConfiguration()
            configuration.producer.maximumMessageBytes = limit
            change(&configuration)
            producer = try KafkaTransactionalProducer(configuration, logger: .silent)
        }

        /// Transforms what is small and refuses what is not, until `isOver`.
        func run(
            onRefusal: KafkaDeadLetters.Refusal = .hold,
            maximumCount: Int = 1_000,
            maximumWait: Duration = .milliseconds(50),
            until isOver: (KafkaConsumer.Events) async throws -> Void,
            _ transform: (@Sendable (KafkaConsumer.Delivery) throws -> [KafkaMessage])? = nil
        ) async throws -> KafkaCloseSummary {
            let consumer = try KafkaConsumer(cluster.quickConsumer(input), logger: .silent)
            let events = consumer.events
            let (producer, output) = (producer, output)
            let running = Task {
                try await consumer.transform(
                    through: producer,
                    maximumCount: maximumCount,
                    maximumWait: maximumWait,
                    retry: .none,
                    deadLetters: KafkaDeadLetters(onRefusal: onRefusal)
                ) { delivery in
                    if let transform { return try transform(delivery) }
                    guard delivery.text.utf8.count < 1_000 else { throw Failure() }
                    return [KafkaMessage(topic: output, value: "\(delivery.partition) \(delivery.offset)")]
                }
            }
            do {
                try await isOver(events)
            } catch {
                running.cancel()
                throw error
            }
            let summary = await consumer.close()
            try await running.value
            await producer.close()
            return summary
        }

        func outputs() async throws -> Set<String> { Set(try await Kcat(cluster).committedValues(output)) }

        func outputs(are expected: Set<String>) async throws {
            try await waitUntil { try await outputs().isSuperset(of: expected) }
        }
    }

    @Test func aLetterThatDoesNotFitIsStoredWithoutWhatCanBeLeftOut() async throws {
        let setting = try await Setting([[10, 9_300, 10]])
        let summary = try await setting.run { events in
            _ = try await events.first { if case .deadLettered = $0 { true } else { nil } }
            try await setting.outputs(are: ["0 0", "0 2"])
        }
        #expect(summary.unsettled == 0)
        let reader = setting.cluster.quickConsumer(setting.letters)
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            let letter = try #require(try await consumer.take(1).first)
            #expect(letter.value?.count == 9_300)
            #expect(letter.deadLetter?.originalOffset == 1)
            #expect(letter.deadLetter?.exceptionType != nil)
            #expect(letter.deadLetter?.exceptionMessage == nil)
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aLetterThatTheBrokerRefusesIsStoredWithoutWhatCanBeLeftOut() async throws {
        let setting = try await Setting([[2_000]])
        try setting.cluster.mock.inject([.messageTooLarge, .messageTooLarge], into: .produce)
        _ = try await setting.run { events in
            _ = try await events.first { if case .deadLettered = $0 { true } else { nil } }
        }
        let reader = setting.cluster.quickConsumer(setting.letters)
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            let letter = try await consumer.take(1).first
            #expect(letter?.headers.count == 3, "where it comes from")
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatATopicRefusedAsTooLargeIsNotSentForOtherLettersAsLarge() async throws {
        let setting = try await Setting([[2_000, 2_000, 2_000, 2_000]])
        // One letter is refused twice; each refusal costs a transaction, so the others do without what it did without.
        try setting.cluster.mock.inject([.messageTooLarge, .messageTooLarge], into: .produce)
        _ = try await setting.run { events in
            var letters = 0
            for await event in events {
                if case .deadLettered = event { letters += 1 }
                if letters == 4 { break }
            }
        }
        let reader = setting.cluster.quickConsumer(setting.letters)
        try await withKafkaConsumer(reader, logger: .test) { consumer in
            // The mock cluster shows what was aborted too; the last are those that count.
            let letters = try await consumer.take(4)
            #expect(letters.map(\.headers.count) == [3, 3, 3, 3])
            #expect(letters.compactMap(\.deadLetter).map(\.originalOffset) == [0, 1, 2, 3])
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func aLetterAsLargeAsOneThatWasRefusedIsSentAllTheSameWhereItIsCompressed() async throws {
        let setting = try await Setting([[2_000], [2_000]]) { $0.producer.compression = .lz4 }
        // One is refused with all headers, without the error's text, and without any but those that say where it comes from.
        try setting.cluster.mock.inject([.messageTooLarge, .messageTooLarge, .messageTooLarge], into: .produce)
        let refused = Shared<Set<KafkaTopicPartition>>([])
        _ = try await setting.run { events in
            let stored = try await events.first { event -> KafkaTopicPartition? in
                switch event {
                case .deadLetterRefused(let source, _):
                    _ = refused.change { $0.insert(source.partition) }
                    return nil
                case .deadLettered(let source, _): return source.partition
                default: return nil
                }
            }
            #expect(refused.value.count <= 1)
            #expect(!refused.value.contains(stored), "no broker has refused it")
        }
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatIsSentOneByOneIsCommittedInPartsBeforeItsTransactionTimesOut() async throws {
        let setting = try await Setting([Array(repeating: 10, count: 12)]) { $0.transactionTimeout = .seconds(24) }
        let output = setting.output
        let mock = try setting.cluster.mock
        try mock.inject([.messageTooLarge], into: .produce)
        let calls = Shared<[Int64: Int]>([:])
        // All twelve are in the first batch.
        let summary = try await setting.run(maximumCount: 12, maximumWait: .seconds(1)) { _ in
            try await setting.outputs(are: Set((0..<12).map(String.init)))
        } _: { delivery in
            try mock.setRoundTripTime(.milliseconds(960))
            calls.change { $0[delivery.offset, default: 0] += 1 }
            return [KafkaMessage(topic: output, value: "\(delivery.offset)")]
        }
        #expect(summary.unsettled == 0)
        // Once together; then 960 ms each, of which a transaction that may take 24 seconds has no room for twelve: a third of it is for
        // sending, the rest for the commit.
        #expect((calls.value.values.max() ?? 0) > 2)
        #expect(try await Kcat(setting.cluster).count(output, partition: 0) == 12, "none was sent again")
    }

    @Test func aLetterThatCanNeverBeStoredHoldsItsPartitionAndTheOthersGoOn() async throws {
        let setting = try await Setting([[10, 20_000, 10], [10, 10, 10]])
        let summary = try await setting.run { events in
            let error = try await events.first { event -> KafkaError? in
                if case .deadLetterRefused(let source, let error) = event, source.offset == 1 { error } else { nil }
            }
            #expect(error.kind == .messageTooLarge)
            try await setting.outputs(are: ["0 0", "1 0", "1 1", "1 2"])
        }
        #expect(summary.unsettled >= 1)
        #expect(try await !setting.outputs().contains("0 2"))
    }

    @Test func whatIsHandedOverIsPartOfTheTransactionThatFollows() async throws {
        let setting = try await Setting([[10, 20_000, 10]])
        let calls = Shared(0)
        let summary = try await setting.run(
            onRefusal: .handOver { delivery, letter, error in
                #expect(delivery.offset == 1)
                #expect(letter.value?.count == 20_000)
                let count = calls.change { calls -> Int in
                    calls += 1
                    return calls
                }
                guard count == 3 else { throw Failure() }
            },
            until: { events in
                _ = try await events.first { if case .handedOver = $0 { true } else { nil } }
                try await setting.outputs(are: ["0 0", "0 2"])
            }
        )
        #expect(summary.unsettled == 0)
        #expect(calls.value == 3)
        #expect(try await Kcat(setting.cluster).committedValues(setting.letters).isEmpty)
    }

    @Test(.enabled(if: TestCluster.isMock, "injects faults"))
    func whatMakesSomethingThatTheBrokerRefusesIsGivenUp() async throws {
        let setting = try await Setting([[1]])
        let output = setting.output
        // Once with all of its transaction, and once by itself.
        try setting.cluster.mock.inject([.messageTooLarge, .messageTooLarge], into: .produce)
        let summary = try await setting.run(until: { events in
            _ = try await events.first { if case .deadLettered = $0 { true } else { nil } }
        }) { delivery in
            [KafkaMessage(topic: output, value: "\(delivery.offset)")]
        }
        #expect(summary.unsettled == 0)
        #expect(try await Kcat(setting.cluster).committedValues(setting.letters) == ["v"])
        #expect(try await setting.outputs().isEmpty)
    }

    @Test func whatMakesSomethingTooLargeIsGivenUp() async throws {
        let setting = try await Setting([[1, 2, 3]])
        let output = setting.output
        let summary = try await setting.run(until: { events in
            _ = try await events.first { if case .deadLettered = $0 { true } else { nil } }
            try await setting.outputs(are: ["0", "2"])
        }) { delivery in
            let value = delivery.offset == 1 ? String(repeating: "v", count: 20_000) : "\(delivery.offset)"
            return [KafkaMessage(topic: output, value: value)]
        }
        #expect(summary.unsettled == 0)
        #expect(try await Kcat(setting.cluster).committedValues(setting.letters) == ["vv"])
    }
}
