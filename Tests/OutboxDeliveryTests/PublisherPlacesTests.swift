import Testing

@testable import OutboxDelivery

struct PublisherPlacesTests {
    private let start = ContinuousClock.now
    private let accepted = OutboxOutcome.accepted(OutboxReceipt(place: "t"))
    private let away = OutboxOutcome.unavailable(reason: "away")

    /// What is told when a batch comes back, so many seconds after the start.
    private func told(
        _ places: inout PublisherPlaces,
        _ batch: [(String?, OutboxOutcome)],
        after seconds: Int
    ) -> [String] {
        var told: [String] = []
        places.note(batch.map(\.1), batch.map(\.0), of: "hooks", at: start.advanced(by: .seconds(seconds))) { event in
            switch event {
            case .destinationUnavailable(let name, let reason): told.append("- \(name): \(reason)")
            case .destinationAvailable(let name): told.append("+ \(name)")
            case .placeUnavailable(let place, "hooks", let reason): told.append("- \(place): \(reason)")
            case .placeAvailable(let place, "hooks"): told.append("+ \(place)")
            default: told.append("?")
            }
        }
        return told
    }

    @Test func aPlaceThatIsAwayIsToldOnceAndOnceWhenItIsBackAndOthersAreNot() {
        var places = PublisherPlaces()
        var all: [Int: [String]] = [:]
        for second in 0..<100 {
            let batch = [("x", second < 60 ? away : accepted), ("y", accepted)]
            let some = told(&places, batch, after: second)
            if !some.isEmpty { all[second] = some }
        }
        #expect(all == [30: ["- x: away"], 60: ["+ x"]])
        #expect(!places.areWatched)
    }

    // A server that answers some requests is there, and one that is away says nothing about the destination.
    @Test(arguments: [2, 3, 11, 29]) func aPlaceWithMixedAnswersIsNeverTold(period: Int) {
        var places = PublisherPlaces()
        for number in 0..<1_000 {
            let outcome = number % period == 0 ? accepted : OutboxOutcome.unknown(reason: "no answer")
            #expect(told(&places, [("x", outcome)], after: number).isEmpty)
        }
        for number in 0..<10_000 {
            let outcome = number % (100 * period) == 0 ? accepted : away
            #expect(told(&places, [("x", outcome)], after: 1_000 + number / 100).isEmpty, "whatever their number")
        }
    }

    @Test func thatAPlaceIsAwayIsToldAtMostOnceInHalfAMinute() {
        var places = PublisherPlaces()
        var count = 0
        for second in 0..<3_100 {
            // As bad as it can be: it answers once whenever it was told to be away.
            let some = told(&places, [("x", away)], after: second)
            if some.contains("- x: away") {
                count += 1
                #expect(told(&places, [("x", accepted)], after: second) == ["+ hooks", "+ x"])
            }
        }
        #expect(count == 100)
    }

    @Test func fewBatchesSayNothingHoweverLongTheyTake() {
        var places = PublisherPlaces()
        for number in 0..<9 { #expect(told(&places, [("x", away)], after: number * 3_600).isEmpty) }
        #expect(told(&places, [("x", away)], after: 36_000) == ["- hooks: away", "- x: away"])
    }

    @Test func aDestinationOfWhichNoPlaceIsKnownIsToldAsAWhole() {
        var places = PublisherPlaces()
        var all: [String] = []
        for second in 0...40 { all += told(&places, [(nil, away), (nil, away)], after: second) }
        #expect(all == ["- hooks: away"])
        // Without a word about the places, too.
        places.note([accepted], [], of: "hooks", at: start.advanced(by: .seconds(41))) { event in
            if case .destinationAvailable("hooks") = event { all.append("back") }
        }
        #expect(all == ["- hooks: away", "back"])
    }

    @Test func soManyPlacesAreWatchedAtATimeAndNoMore() {
        var places = PublisherPlaces()
        let many = (0..<PublisherPlaces.maximum * 2).map { ("\($0)", away) }
        var all: [String] = []
        for second in 0...30 { all += told(&places, many, after: second) }
        #expect(Set(all).count == all.count && all.count == PublisherPlaces.maximum)
        #expect(all.contains("- hooks: away"))
        // Those for which nothing came for two minutes, and that were not told, leave their room to others.
        var fresh = PublisherPlaces()
        _ = told(&fresh, many, after: 0)
        all = []
        for second in 100...150 { all += told(&fresh, [("last", away)], after: second) }
        #expect(all == ["- hooks: away", "- last: away"])
    }
}
