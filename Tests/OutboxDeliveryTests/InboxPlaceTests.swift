import Testing

@testable import OutboxDelivery

struct InboxPlaceTests {
    private struct Store: InboxStore {
        let consumer = "test"
        func nextOffset(of place: InboxPlace) async throws(OutboxError) -> Int64? { nil }
    }

    private func place(of offsets: [Int64]) throws(OutboxError) -> InboxPlace? {
        let place = InboxPlace(topic: "t", partition: 0)
        return try Store().place(of: offsets.map { InboxMessage(place: place, offset: $0, idempotencyKey: nil) })
    }

    @Test(arguments: [[.min], [-1], [-1, 0], [.max], [1, 0], [1, 1], [0, .max]] as [[Int64]])
    func offsetsThatNoPartitionHasAreRefused(_ offsets: [Int64]) {
        #expect(throws: OutboxError.self) { try place(of: offsets) }
    }

    @Test(arguments: [[0], [0, 1, 7], [.max - 1]] as [[Int64]])
    func offsetsInTheirOrderAreTaken(_ offsets: [Int64]) throws {
        #expect(try place(of: offsets) != nil)
    }
}
