import Testing

@testable import KafkaDeliveryTesting

/// What stands before a mock broker reads all the versions of requests that it lets clients use, and says where it cannot.
struct SequenceWireTests {
    private static let real: UInt16 = 9_001
    private static let front: UInt16 = 40_001

    /// A frame with its length and a correlation id, and what `body` writes.
    private func frame(isFlexible: Bool, _ body: (inout WireWriter) -> Void) -> [UInt8] {
        var writer = WireWriter(isFlexible: isFlexible)
        writer.write(Int32(7))
        body(&writer)
        return Int32(writer.bytes.count).bigEndianBytes + writer.bytes
    }

    private func metadata(version: Int16, ports: [UInt16]) -> [UInt8] {
        frame(isFlexible: version >= 9) { writer in
            writer.endStructure()
            if version >= 3 { writer.write(Int32(0)) }
            writer.write(count: ports.count)
            for (number, port) in ports.enumerated() {
                writer.write(Int32(number + 1))
                writer.write("localhost")
                writer.write(Int32(port))
                if version >= 1 { writer.write(number == 0 ? nil : "rack") }
                writer.endStructure()
            }
            writer.write("what follows is not looked at")
        }
    }

    @Test(arguments: 0...Int16(12))
    func theAddressesOfBrokersAreReplacedInEveryVersionOfMetadata(version: Int16) {
        let ports = AdvertisedPorts(ports: [9_001: 40_001, 9_002: 40_002])
        var response = metadata(version: version, ports: [9_001, 9_002, 9_003])
        #expect(ports.replace(in: &response, kind: AdvertisedPorts.metadata, version: version))
        #expect(response == metadata(version: version, ports: [40_001, 40_002, 9_003]))
    }

    @Test(arguments: 0...Int16(3))
    func theAddressOfACoordinatorIsReplacedInEveryVersion(version: Int16) {
        func response(_ port: UInt16) -> [UInt8] {
            frame(isFlexible: version >= 3) { writer in
                writer.endStructure()
                if version >= 1 { writer.write(Int32(0)) }
                writer.write(Int16(0))
                if version >= 1 { writer.write(nil) }
                writer.write(Int32(1))
                writer.write("localhost")
                writer.write(Int32(port))
                writer.endStructure()
            }
        }
        var answer = response(Self.real)
        let ports = AdvertisedPorts(ports: [Self.real: Self.front])
        #expect(ports.replace(in: &answer, kind: AdvertisedPorts.findCoordinator, version: version))
        #expect(answer == response(Self.front))
    }

    @Test func anAnswerThatEndsTooSoonIsNotUnderstood() {
        let ports = AdvertisedPorts(ports: [Self.real: Self.front])
        for version in [Int16(2), 9] {
            var response = Array(metadata(version: version, ports: [Self.real]).prefix(20))
            #expect(!ports.replace(in: &response, kind: AdvertisedPorts.metadata, version: version))
        }
    }

    /// An idempotent producer's batch: format 2, and the fields that sequence numbers are in.
    private func batch(producerID: Int64, epoch: Int16, first: Int32, count: Int32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 61)
        bytes[16] = 2
        bytes.replaceSubrange(43..<51, with: producerID.bigEndianBytes)
        bytes.replaceSubrange(51..<53, with: epoch.bigEndianBytes)
        bytes.replaceSubrange(53..<57, with: first.bigEndianBytes)
        bytes.replaceSubrange(57..<61, with: count.bigEndianBytes)
        return bytes
    }

    private func produce(version: Int16, _ batches: [[UInt8]]) -> [UInt8] {
        let isFlexible = version >= 9
        var writer = WireWriter(isFlexible: isFlexible)
        writer.write(nil)
        writer.write(Int16(-1))
        writer.write(Int32(30_000))
        writer.write(count: 1)
        writer.write("orders")
        writer.write(count: batches.count)
        for (partition, batch) in batches.enumerated() {
            writer.write(Int32(partition))
            // Bytes have their length as arrays do.
            writer.write(count: batch.count)
            for byte in batch { writer.write(byte) }
            writer.endStructure()
        }
        writer.endStructure()
        writer.endStructure()
        var header = ProduceRequest.kind.bigEndianBytes + version.bigEndianBytes + Int32(7).bigEndianBytes
        header += Int16(4).bigEndianBytes + Array("test".utf8)
        // The tagged fields of the header: one, of two bytes, that nobody knows.
        if isFlexible { header += [1, 0, 2, 0xff, 0xff] }
        let frame = header + writer.bytes
        return Int32(frame.count).bigEndianBytes + frame
    }

    @Test(arguments: 3...Int16(9))
    func theSequenceNumbersOfEveryVersionOfProduceAreRead(version: Int16) throws {
        let batches = [
            batch(producerID: 5, epoch: 1, first: 10, count: 3), batch(producerID: 5, epoch: 1, first: 0, count: 200),
        ]
        let request = try #require(ProduceRequest(frame: produce(version: version, batches)[...]))
        #expect(request.correlationID == 7)
        #expect(request.acknowledgements == -1)
        #expect(request.parts.map(\.partition.partition) == [0, 1])
        #expect(request.parts.map(\.partition.topic) == ["orders", "orders"])
        #expect(
            request.parts.map(\.batch) == [
                SequenceKeeper.Batch(producerID: 5, epoch: 1, firstSequence: 10, count: 3),
                SequenceKeeper.Batch(producerID: 5, epoch: 1, firstSequence: 0, count: 200),
            ]
        )
    }

    @Test(arguments: [Int16(3), 7, 8, 9])
    func whatIsAnsweredInPlaceOfABrokerCanBeRead(version: Int16) throws {
        let batch = batch(producerID: 5, epoch: 0, first: 0, count: 1)
        let request = try #require(ProduceRequest(frame: produce(version: version, [batch, batch])[...]))
        let response = request.response([.init(offset: 41), .init(error: 45)])
        // The mock leaves the log's beginning out of version 5; we write as the protocol has it, which 3 and 6 to 9 share.
        let answers = try #require(request.answers(in: response[...]))
        #expect(answers.map(\.1.offset) == [41, -1])
        #expect(answers.map(\.1.error) == [0, 45])
        #expect(answers.map(\.0.partition) == [0, 1])
    }

    private func offers(version: Int16, _ versions: [(kind: Int16, first: Int16, last: Int16)]) -> [UInt8] {
        frame(isFlexible: version >= 3) { writer in
            writer.write(Int16(0))
            writer.write(count: versions.count)
            for offer in versions {
                writer.write(offer.kind)
                writer.write(offer.first)
                writer.write(offer.last)
                writer.endStructure()
            }
            if version >= 1 { writer.write(Int32(0)) }
            writer.endStructure()
        }
    }

    @Test(arguments: 0...Int16(3))
    func versionsThatAreNotUnderstoodAreNotOffered(version: Int16) {
        var answer = offers(version: version, [(0, 0, 12), (1, 0, 17), (3, 0, 12), (10, 0, 6), (22, 0, 5), (68, 1, 1)])
        #expect(UnderstoodVersions.limit(&answer, version: version))
        #expect(
            answer == offers(version: version, [(0, 0, 9), (1, 0, 15), (3, 0, 12), (10, 0, 3), (22, 0, 5), (68, 1, 1)])
        )
    }

    @Test func aBrokerThatOffersNothingWeUnderstandIsNotUsed() {
        var answer = offers(version: 0, [(0, 13, 14)])
        #expect(!UnderstoodVersions.limit(&answer, version: 0))
    }

    @Test func aRequestOfAVersionThatWasNotOfferedIsNotUnderstood() {
        #expect(!UnderstoodVersions.includes(kind: ProduceRequest.kind, version: 10))
        #expect(UnderstoodVersions.includes(kind: ProduceRequest.kind, version: 9))
        #expect(UnderstoodVersions.includes(kind: 22, version: 99))
        #expect(ProduceRequest(frame: produce(version: 10, [])[...]) == nil)
    }
}
