import Testing

@testable import KafkaDeliveryTesting

struct SequenceKeeperTests {
    private let partition = SequenceKeeper.Partition(topic: "t", partition: 0)

    private func batch(_ first: Int32, _ count: Int32 = 10, epoch: Int16 = 0, producer: Int64 = 1)
        -> SequenceKeeper.Batch
    {
        SequenceKeeper.Batch(producerID: producer, epoch: epoch, firstSequence: first, count: count)
    }

    private func keeper(_ batches: [SequenceKeeper.Batch]) -> SequenceKeeper {
        var keeper = SequenceKeeper()
        var offset: Int64 = 100
        for batch in batches {
            #expect(keeper.check(batch, in: partition) == .append)
            keeper.stored(batch, in: partition, at: offset)
            offset += Int64(batch.count)
        }
        return keeper
    }

    @Test func theNextBatchIsStored() {
        #expect(keeper([batch(0), batch(10)]).check(batch(20), in: partition) == .append)
    }

    @Test func aBatchThatIsStoredHasTheOffsetItHas() {
        let keeper = keeper([batch(0), batch(10), batch(20)])
        #expect(keeper.check(batch(0), in: partition) == .duplicate(offset: 100))
        #expect(keeper.check(batch(20), in: partition) == .duplicate(offset: 120))
    }

    @Test func fiveBatchesAreRemembered() {
        let keeper = keeper((0..<6).map { batch($0 * 10) })
        #expect(keeper.check(batch(10), in: partition) == .duplicate(offset: 110))
        #expect(keeper.check(batch(0), in: partition) == .outOfOrder)
    }

    @Test func aGapIsRefused() {
        #expect(keeper([batch(0)]).check(batch(20), in: partition) == .outOfOrder)
    }

    @Test func aBatchThatOverlapsIsNoDuplicate() {
        #expect(keeper([batch(0)]).check(batch(0, 5), in: partition) == .outOfOrder)
    }

    @Test func anOlderEpochIsFencedAndANewOneBeginsAtZero() {
        let keeper = keeper([batch(0, epoch: 3)])
        #expect(keeper.check(batch(10, epoch: 2), in: partition) == .fenced)
        #expect(keeper.check(batch(10, epoch: 4), in: partition) == .outOfOrder)
        #expect(keeper.check(batch(0, epoch: 4), in: partition) == .append)
    }

    @Test func aNewEpochForgetsTheOldOnesBatches() {
        var keeper = keeper([batch(0), batch(10)])
        keeper.stored(batch(0, epoch: 1), in: partition, at: 120)
        #expect(keeper.check(batch(10, epoch: 1), in: partition) == .append)
        #expect(keeper.check(batch(0, epoch: 1), in: partition) == .duplicate(offset: 120))
    }

    @Test func producersAndPartitionsKnowNothingOfEachOther() {
        let keeper = keeper([batch(0)])
        #expect(keeper.check(batch(0, producer: 2), in: partition) == .append)
        #expect(keeper.check(batch(0), in: .init(topic: "t", partition: 1)) == .append)
        #expect(keeper.check(batch(0), in: .init(topic: "u", partition: 0)) == .append)
    }

    @Test func afterTheGreatestSequenceComesZero() {
        let keeper = keeper([batch(.max - 4, 5)])
        #expect(keeper.check(batch(0), in: partition) == .append)
        let across = self.keeper([batch(.max - 4, 10)])
        #expect(across.check(batch(5), in: partition) == .append)
        #expect(across.check(batch(6), in: partition) == .outOfOrder)
    }
}

struct FrameTests {
    /// Frames with bodies of these sizes, whose first body bytes are a number.
    private func stream(_ sizes: [Int]) -> [UInt8] {
        sizes.enumerated().flatMap { index, size in
            Int32(size).bigEndianBytes + Int32(index).bigEndianBytes + [UInt8](repeating: 0xFF, count: size - 4)
        }
    }

    @Test(arguments: [1, 2, 3, 5, 7, 11, 1_000])
    func beginningsAreFoundHoweverTheStreamIsCut(pieceBytes: Int) {
        let sizes = [4, 5, 30, 4, 100]
        let bytes = stream(sizes)
        var tracker = FrameTracker(headBytes: 8)
        var splitter = FrameSplitter()
        var found: [Int32?] = []
        var split: [Int] = []
        var positions: [Int] = []
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            let piece = Array(bytes[start..<min(start + pieceBytes, bytes.count)])
            piece.withUnsafeBytes { piece in
                for frame in tracker.observe(piece) {
                    found.append(frame.head.bigEndian(Int32.self, at: 4))
                    positions.append(start + frame.position)
                }
                splitter.append(piece)
            }
            while let frame = splitter.next() { split.append(frame.count) }
        }
        #expect(found == [0, 1, 2, 3, 4])
        #expect(split == sizes.map { $0 + 4 })
        if pieceBytes == 1_000 { #expect(positions == [0, 8, 17, 51, 59]) }
        #expect(!tracker.isOpaque)
    }

    @Test func aStreamOfSomethingElseIsSeenToBeOne() {
        var tracker = FrameTracker(headBytes: 8)
        var splitter = FrameSplitter()
        let bytes = Array("\u{16}\u{03}\u{01} not Kafka".utf8)
        bytes.withUnsafeBytes { bytes in
            #expect(tracker.observe(bytes).isEmpty)
            splitter.append(bytes)
        }
        #expect(tracker.isOpaque)
        #expect(splitter.next() == nil)
        #expect(splitter.isBroken)
    }

    @Test func aRequestThatEndsTooEarlyIsNoRequest() throws {
        var body: [UInt8] = Int16(0).bigEndianBytes + Int16(7).bigEndianBytes + Int32(9).bigEndianBytes
        body += Int16(-1).bigEndianBytes + Int16(-1).bigEndianBytes + Int16(-1).bigEndianBytes
        body += Int32(1_000).bigEndianBytes + Int32(1).bigEndianBytes
        body += Int16(1).bigEndianBytes + Array("t".utf8) + Int32(1).bigEndianBytes
        var records = [UInt8](repeating: 0, count: 61)
        records[16] = 2
        records.replaceSubrange(43..<51, with: Int64(77).bigEndianBytes)
        records.replaceSubrange(51..<53, with: Int16(2).bigEndianBytes)
        records.replaceSubrange(53..<57, with: Int32(40).bigEndianBytes)
        records.replaceSubrange(57..<61, with: Int32(3).bigEndianBytes)
        body += Int32(5).bigEndianBytes + Int32(records.count).bigEndianBytes + records
        let frame = Int32(body.count).bigEndianBytes + body

        let request = try #require(ProduceRequest(frame: frame[...]))
        #expect(request.correlationID == 9)
        #expect(request.acknowledgements == -1)
        #expect(request.parts.map(\.partition) == [.init(topic: "t", partition: 5)])
        #expect(
            request.parts.first?.batch
                == SequenceKeeper.Batch(producerID: 77, epoch: 2, firstSequence: 40, count: 3)
        )
        for count in 0..<frame.count {
            #expect(ProduceRequest(frame: frame.prefix(count)) == nil)
        }
        // What it would be answered can be read again.
        let response = request.response([ProduceRequest.Answer(error: 0, offset: 123)])
        let answers = try #require(request.answers(in: response[...]))
        #expect(answers.map(\.1.offset) == [123])
        #expect(answers.map(\.0) == [.init(topic: "t", partition: 5)])
        for count in 0..<response.count - 4 {
            #expect(request.answers(in: response.prefix(count)) == nil)
        }
    }
}
