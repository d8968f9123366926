import Testing

@testable import KafkaDelivery

/// The lines of librdkafka's log that tell of an offset that is not there.
struct OffsetResetLineTests {
    @Test(arguments: [
        "[thrd:main]: my.orders-1 [3]: offset reset (at offset 61, broker 1) to cached BEGINNING offset 0: fetch failed due to "
            + "requested offset not available on the broker: Broker: Offset out of range",
        "my.orders-1 [3]: offset reset (at offset 61 (leader epoch 4), broker 1) to offset BEGINNING (leader epoch -1): why",
    ])
    func aResetIsReadInEveryVersion(line: String) {
        let expected = OffsetResets.Reset(partition: .init(topic: "my.orders-1", partition: 3), offset: 61)
        #expect(OffsetResets.reset(in: line) == expected)
    }

    @Test(arguments: [
        "", "offset reset", "]: offset reset (at ", "[3]: offset reset (at offset 61, broker 1)",
        "orders [x]: offset reset (at offset 61, broker 1)", "orders [3]: offset reset (at offset STORED, broker 1)",
        "[thrd:main]: orders [3]: stored offset 61, committed offset 61",
        "orders [99999999999999999999]: offset reset (at offset 1, broker 1)",
    ])
    func everythingElseIsNone(line: String) {
        #expect(OffsetResets.reset(in: line) == nil)
    }

    @Test func resetsAreCountedForEachPartitionAndToldOnce() {
        let resets = OffsetResets()
        let count = resets.count(of: .init(topic: "a", partition: 0))
        #expect(resets.note("a [0]: offset reset (at offset 5, broker 1) to END: why"))
        #expect(resets.note("b [0]: offset reset (at offset 6, broker 1) to END: why"))
        #expect(!resets.note("a [0]: something else"))
        #expect(count.now == 1)
        #expect(resets.count(of: .init(topic: "a", partition: 0)).now == 1)
        #expect(resets.take().map(\.offset) == [5, 6])
        #expect(resets.take().isEmpty)
    }
}
