/// What a broker has to know of a `Produce` request (versions 3 to 9) to check its sequence numbers.
struct ProduceRequest {
    struct Part {
        let partition: SequenceKeeper.Partition
        /// Nil where the messages are not an idempotent producer's.
        let batch: SequenceKeeper.Batch?
    }

    /// What is answered for a part.
    struct Answer {
        var error: Int16 = 0
        var offset: Int64 = -1
    }

    static let kind: Int16 = 0

    let version: Int16
    let correlationID: Int32
    let acknowledgements: Int16
    /// In the request's order.
    let parts: [Part]

    var isIdempotent: Bool { parts.contains { $0.batch != nil } }

    /// The first version with record batches, which sequence numbers are in.
    private static let earliest: Int16 = 3
    /// The first version with compact strings and arrays, and tagged fields.
    private static let flexible: Int16 = 9

    /// Whether a request of this version may be an idempotent producer's.
    static func mayBeIdempotent(_ version: Int16) -> Bool { version >= earliest }

    /// Nil where it is something else, or of a version that is not known here.
    init?(frame: ArraySlice<UInt8>) {
        var reader = WireReader(frame)
        guard reader.skip(4), reader.number(Int16.self) == Self.kind, let version = reader.number(Int16.self),
            Self.mayBeIdempotent(version), UnderstoodVersions.includes(kind: Self.kind, version: version),
            let correlationID = reader.number(Int32.self),
            // The client's name is not compact in any version.
            reader.string() != nil, version < Self.flexible || reader.endFlexibleHeader(),
            reader.string() != nil, let acknowledgements = reader.number(Int16.self), reader.skip(4),
            let topics = reader.count()
        else { return nil }
        var parts: [Part] = []
        for _ in 0..<topics {
            guard let topic = reader.string(), let partitions = reader.count() else { return nil }
            for _ in 0..<partitions {
                guard let partition = reader.number(Int32.self), let records = reader.data(), reader.skipTags() else {
                    return nil
                }
                let start = frame.startIndex
                parts.append(
                    Part(
                        partition: SequenceKeeper.Partition(topic: topic, partition: partition),
                        batch: Self.batch(frame[start + records.lowerBound..<start + records.upperBound])
                    )
                )
            }
            guard reader.skipTags() else { return nil }
        }
        self.version = version
        self.correlationID = correlationID
        self.acknowledgements = acknowledgements
        self.parts = parts
    }

    /// The header of a record batch of format 2.
    private static func batch(_ records: ArraySlice<UInt8>) -> SequenceKeeper.Batch? {
        guard records.bigEndian(Int8.self, at: 16) == 2, let producerID = records.bigEndian(Int64.self, at: 43),
            let epoch = records.bigEndian(Int16.self, at: 51), let first = records.bigEndian(Int32.self, at: 53),
            let count = records.bigEndian(Int32.self, at: 57), producerID >= 0, first >= 0, count > 0
        else { return nil }
        return SequenceKeeper.Batch(producerID: producerID, epoch: epoch, firstSequence: first, count: count)
    }

    /// The response, with an answer for each part.
    func response(_ answers: [Answer]) -> [UInt8] {
        var writer = WireWriter(isFlexible: version >= Self.flexible)
        writer.write(correlationID)
        writer.endStructure()
        // A topic may be named twice; each part is then a topic of its own, which the protocol allows.
        writer.write(count: parts.count)
        for (part, answer) in zip(parts, answers) {
            writer.write(part.partition.topic)
            writer.write(count: 1)
            writer.write(part.partition.partition)
            writer.write(answer.error)
            writer.write(answer.offset)
            // The time of appending: none.
            writer.write(Int64(-1))
            // The offset the log begins at: unknown.
            if version >= 5 { writer.write(Int64(-1)) }
            if version >= 8 {
                // No errors of single messages, and no sentence.
                writer.write(count: 0)
                writer.write(nil)
            }
            writer.endStructure()
            writer.endStructure()
        }
        // Not throttled.
        writer.write(Int32(0))
        writer.endStructure()
        return Int32(writer.bytes.count).bigEndianBytes + writer.bytes
    }

    /// What librdkafka's mock answered, in the order of its response; nil where it cannot be read.
    func answers(in frame: ArraySlice<UInt8>) -> [(SequenceKeeper.Partition, Answer)]? {
        var reader = WireReader(frame)
        guard reader.skip(8), version < Self.flexible || reader.endFlexibleHeader(), let topics = reader.count() else {
            return nil
        }
        var answers: [(SequenceKeeper.Partition, Answer)] = []
        for _ in 0..<topics {
            guard let topic = reader.string(), let partitions = reader.count() else { return nil }
            for _ in 0..<partitions {
                // The mock writes where the log begins from version 6 on, not 5 as the protocol has it.
                guard let partition = reader.number(Int32.self), let error = reader.number(Int16.self),
                    let offset = reader.number(Int64.self), reader.skip(version >= 6 ? 16 : 8),
                    version < 8 || skipErrorsOfMessages(&reader), reader.skipTags()
                else { return nil }
                let key = SequenceKeeper.Partition(topic: topic, partition: partition)
                answers.append((key, Answer(error: error, offset: offset)))
            }
            guard reader.skipTags() else { return nil }
        }
        return answers
    }

    /// Which messages of a batch were refused, each with a sentence, and a sentence about all of them (KIP-467).
    private func skipErrorsOfMessages(_ reader: inout WireReader) -> Bool {
        guard let errors = reader.count() else { return false }
        for _ in 0..<errors {
            guard reader.skip(4), reader.string() != nil, reader.skipTags() else { return false }
        }
        return reader.string() != nil
    }
}
