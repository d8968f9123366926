import Testing

@testable import RabbitDelivery

@Suite struct StreamPositionTests {
    @Test func aStreamIsReadOnAtTheFirstMessageWithoutAVerdict() {
        var position = StreamPosition(offset: 7)
        #expect(position.resume == 7)
        for offset in [7, 8, 12, 13] as [Int64] { position.add(offset) }
        #expect(position.resume == 7)
        position.settled(before: 3)
        #expect(position.resume == 12)
        position.endChannel(firstUnsettled: 4)
        #expect(position.resume == 13)
        // The next channel counts from 1, and sends the chunk that 13 is in.
        position.add(12)
        #expect(position.isKnown(12) && !position.isKnown(13) && !position.isKnown(nil))
        #expect(position.resume == 13)
        position.add(13)
        position.settled(before: 3)
        #expect(position.resume == 14)
        position.endChannel(firstUnsettled: 3)
        #expect(position.resume == 14)
    }
}
