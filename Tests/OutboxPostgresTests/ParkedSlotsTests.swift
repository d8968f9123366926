import Testing

@testable import OutboxPostgres

struct ParkedSlotsTests {
    // The look was answered before something was parked, and its answer is taken afterwards.
    @Test func anOlderAnswerDoesNotForgetWhatWasParkedSince() {
        var slots = PostgresParkedSlots()
        let look = slots.begin(of: [3, 4])
        slots.notePark([3])
        slots.note(look, parked: [], decided: [])
        #expect(slots.parked == [3])
        // A look that began later knows.
        let later = slots.begin(of: [3, 4])
        slots.note(later, parked: [], decided: [])
        #expect(slots.parked.isEmpty)
    }

    @Test func anAnswerSaysNothingOfSlotsThatItDidNotAskAbout() {
        var slots = PostgresParkedSlots()
        let old = slots.begin(of: [1])
        let new = slots.begin(of: [1, 2])
        slots.note(new, parked: [1, 2], decided: [2])
        slots.note(old, parked: [1], decided: [1])
        #expect(slots.parked == [1, 2] && slots.decided == [1, 2])
        slots.note(slots.begin(of: [1]), parked: [], decided: [])
        #expect(slots.parked == [2] && slots.decided == [2])
    }
}
