import Testing

@testable import OutboxDelivery

struct SlotsToGiveTests {
    private let owned = Set(0..<32)

    // However many are due to others: a destination that does not answer keeps them, and another one's rows go on.
    @Test(arguments: [1, 16, 21, 28, 31, 40])
    func noSlotStaysUnreadThatDoesNotComeFree(_ surplus: Int) {
        var giving = SlotsToGive()
        var unread: [Int: Int] = [:]
        for _ in 0..<100 {
            giving.note(surplus: surplus)
            giving.choose(among: owned, busy: owned)
            #expect(giving.slots.count <= surplus)
            for slot in owned {
                unread[slot] = giving.slots.contains(slot) ? unread[slot, default: 0] + 1 : 0
                #expect(unread[slot, default: 0] <= 3)
            }
        }
    }

    @Test func idleOnesAreGivenFirstAndAChoiceHoldsForSomeBeats() {
        var giving = SlotsToGive()
        giving.note(surplus: 2)
        giving.choose(among: owned, busy: owned.subtracting([7, 9]))
        #expect(giving.slots == [7, 9])
        giving.note(surplus: 2)
        giving.choose(among: owned, busy: owned)
        #expect(giving.slots == [7, 9])
        // One that a retry keeps is not to be given, and nothing when the other publisher has gone.
        giving.choose(among: owned.subtracting([7]), busy: owned)
        #expect(giving.slots == [0, 9])
        giving.note(surplus: 0)
        giving.choose(among: owned, busy: [])
        #expect(giving.slots.isEmpty)
    }
}
