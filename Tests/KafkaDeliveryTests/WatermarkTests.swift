import Testing

@testable import KafkaDelivery

/// Whatever a broker says of where a partition begins and ends, counting with it does not end the process.
struct WatermarkTests {
    @Test(
        arguments: [
            (-1, Int64.max, 0, Int64.max), (Int64.min, Int64.max, 0, Int64.max), (-1, -1, 0, 0), (7, 3, 7, 7),
            (3, 7, 3, 7),
        ] as [(Int64, Int64, Int64, Int64)]
    )
    func watermarksAreNotLessThanZeroAndEndAfterTheyBegin(
        saidToBegin: Int64,
        saidToEnd: Int64,
        beginning: Int64,
        end: Int64
    ) {
        let watermarks = KafkaConsumer.Watermarks(saidToBegin: saidToBegin, saidToEnd: saidToEnd)
        #expect(watermarks.beginning == beginning)
        #expect(watermarks.end == end)
    }

    @Test(
        arguments: [
            (Int64.max, -1, Int64.max), (Int64.max, Int64.min, Int64.max), (Int64.min, Int64.max, 0), (5, 7, 0),
            (7, 5, 2),
        ] as [(Int64, Int64, Int64)]
    )
    func aDistanceThatIsTooGreatIsTheGreatestThereIs(offset: Int64, other: Int64, distance: Int64) {
        #expect(offset.distance(after: other) == distance)
    }
}
