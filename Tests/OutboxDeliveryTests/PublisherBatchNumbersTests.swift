import Testing

@testable import OutboxDelivery

struct PublisherBatchNumbersTests {
    private let now = 1_700_000_000_000.0

    @Test func whatBeginsLaterHasGreaterNumbersAlsoWhereNothingIsKnownOfTheEarlierOnes() {
        let first = PublisherBatchNumbers.start(after: 0, milliseconds: now, draw: 2_097_151)
        #expect(first > 1 << 60)
        #expect(PublisherBatchNumbers.start(after: 0, milliseconds: now + 1, draw: 0) > first)
        #expect(PublisherBatchNumbers.start(after: 7, milliseconds: now + 1, draw: 0) > first)
    }

    @Test func whereTheClockWasPutBackTheNumberIsGreaterAndNotTheNextOne() {
        let last = PublisherBatchNumbers.start(after: 0, milliseconds: now, draw: 5)
        #expect(PublisherBatchNumbers.start(after: last, milliseconds: now - 60_000, draw: 77) == last + 78)
        #expect(PublisherBatchNumbers.start(after: last, milliseconds: now, draw: 5) > last)
    }

    @Test func twoBeginningsInTheSameMillisecondDiffer() {
        let starts = (0..<100).map { _ in PublisherBatchNumbers.start(after: 0) }
        #expect(Set(starts).count > 90)
    }

    @Test(arguments: [-1e300, -1, .nan, .infinity, 1e300])
    func noClockTraps(_ milliseconds: Double) {
        #expect(PublisherBatchNumbers.start(after: 0, milliseconds: milliseconds, draw: .max) > 0)
        #expect(PublisherBatchNumbers.start(after: .max, milliseconds: milliseconds, draw: .max) == .max)
        #expect(PublisherBatchNumbers.start(after: .max - 1, milliseconds: milliseconds, draw: .min) == .max)
    }
}
