/// What a broker has to know of a `Produce` request (versions 3 to 8) to check its sequence numbers.
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

    /// Nil where it is something else, or of a version that is not known here.
    init?(frame: ArraySlice<UInt8>) {
        var reader = WireReader(frame)
        guard reader.skip(4), reader.number(Int16.self) == Self.kind, let version = reader.number(Int16.self),
            (3...8).contains(version), let correlationID = reader.number(Int32.self), reader.string() != nil,
            reader.string() != nil, let acknowledgements = reader.number(Int16.self), reader.skip(4),
            let topics = reader.count()
        else { return nil }
        var parts: [Part] = []
        for _ in 0..<topics {
            guard let topic = reader.string(), let partitions = reader.count() else { return nil }
            for _ in 0..<partitions {
                guard let partition = reader.number(Int32.self), let count = reader.number(Int32.self) else {
                    return nil
                }
                let start = frame.startIndex + reader.offset
                guard reader.skip(max(Int(count), 0)) else { return nil }
                parts.append(
                    Part(
                        partition: SequenceKeeper.Partition(topic: topic, partition: partition),
                        batch: Self.batch(frame[start..<start + max(Int(count), 0)])
                    )
                )
            }
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
        var body = correlationID.bigEndianBytes
        // A topic may be named twice; each part is then a topic of its own, which the protocol allows.
        body += Int32(parts.count).bigEndianBytes
        for (part, answer) in zip(parts, answers) {
            let topic = Array(part.partition.topic.utf8)
            body += Int16(topic.count).bigEndianBytes + topic
            body += Int32(1).bigEndianBytes
            body += part.partition.partition.bigEndianBytes + answer.error.bigEndianBytes + answer.offset.bigEndianBytes
            // The time of appending: none.
            body += Int64(-1).bigEndianBytes
            // The offset the log begins at: unknown.
            if version >= 5 { body += Int64(-1).bigEndianBytes }
            if version >= 8 {
                // No errors of single messages, and no sentence.
                body += Int32(0).bigEndianBytes + Int16(-1).bigEndianBytes
            }
        }
        // Not throttled.
        body += Int32(0).bigEndianBytes
        return Int32(body.count).bigEndianBytes + body
    }

    /// What librdkafka's mock answered, in the order of its response; nil where it cannot be read.
    func answers(in frame: ArraySlice<UInt8>) -> [(SequenceKeeper.Partition, Answer)]? {
        var reader = WireReader(frame)
        guard reader.skip(8), let topics = reader.count() else { return nil }
        var answers: [(SequenceKeeper.Partition, Answer)] = []
        for _ in 0..<topics {
            guard let topic = reader.string(), let partitions = reader.count() else { return nil }
            for _ in 0..<partitions {
                // The mock writes where the log begins from version 6 on, not 5 as the protocol has it.
                guard let partition = reader.number(Int32.self), let error = reader.number(Int16.self),
                    let offset = reader.number(Int64.self), reader.skip(version >= 6 ? 16 : 8)
                else { return nil }
                let place = SequenceKeeper.Partition(topic: topic, partition: partition)
                answers.append((place, Answer(error: error, offset: offset)))
            }
        }
        return answers
    }
}
