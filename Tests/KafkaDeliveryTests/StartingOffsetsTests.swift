import Testing

@testable import KafkaDelivery

/// Which assigned partitions the application is asked about, and when.
struct StartingOffsetsTests {
    final class Partition {}
    struct Failure: Error {}

    private typealias Offsets = StartingOffsets<Partition>

    private let start = ContinuousClock.now
    private func later(_ milliseconds: Int) -> ContinuousClock.Instant {
        start.advanced(by: .milliseconds(milliseconds))
    }

    private func asked(_ actions: [Offsets.Action]) -> [ObjectIdentifier] {
        actions.compactMap { if case .ask(let partition, _) = $0 { ObjectIdentifier(partition) } else { nil } }
    }

    private func cancelled(_ actions: [Offsets.Action]) -> [ObjectIdentifier] {
        actions.compactMap { if case .cancel(let partition) = $0 { ObjectIdentifier(partition) } else { nil } }
    }

    private func delay(_ answer: Offsets.Answer) -> Duration? {
        if case .retry(let delay) = answer { delay } else { nil }
    }

    private func isOutdated(_ answer: Offsets.Answer) -> Bool {
        if case .outdated = answer { true } else { false }
    }

    @Test func anAssignedPartitionIsAskedAboutOnceAndBeginsWhereTheAnswerSays() {
        var offsets = Offsets()
        let partition = Partition()
        offsets.assigned([(partition, 7)], at: start)
        #expect(offsets.next == start)
        let actions = offsets.advance(at: start)
        guard case .ask(let asked, committed: 7)? = actions.first, actions.count == 1 else {
            Issue.record("not asked: \(actions)")
            return
        }
        #expect(asked === partition)
        #expect(offsets.advance(at: later(1)).isEmpty)
        #expect(offsets.next == nil)
        guard case .begin(let offset) = offsets.answered(partition, .success(12), at: later(1)) else {
            Issue.record("does not begin")
            return
        }
        #expect(offset == 12)
    }

    @Test func aFailureIsAskedAboutAgainWithBackOffWhichHoldsUpNoOther() {
        var offsets = Offsets()
        let (one, other) = (Partition(), Partition())
        offsets.assigned([(one, nil)], at: start)
        _ = offsets.advance(at: start)
        #expect(delay(offsets.answered(one, .failure(Failure()), at: start)) == .milliseconds(100))
        #expect(offsets.next == later(100))
        offsets.assigned([(other, nil)], at: later(1))
        #expect(asked(offsets.advance(at: later(1))) == [ObjectIdentifier(other)])
        #expect(offsets.advance(at: later(99)).isEmpty)
        #expect(asked(offsets.advance(at: later(100))) == [ObjectIdentifier(one)])
        #expect(delay(offsets.answered(one, .failure(Failure()), at: later(100))) == .milliseconds(200))
    }

    @Test func aFailureThatEndsLoopsIsTheAnswer() {
        let partition = Partition()
        var offsets = Offsets()
        offsets.assigned([(partition, nil)], at: start)
        _ = offsets.advance(at: start)
        guard case .fail(let error) = offsets.answered(partition, .failure(HandlingStop.endLoop(Failure())), at: start)
        else {
            Issue.record("it is asked about again")
            return
        }
        #expect(error is Failure)
        #expect(offsets.next == nil)
    }

    @Test func soManyAreAskedAboutAtATime() {
        var offsets = Offsets()
        let partitions = (0..<40).map { _ in Partition() }
        offsets.assigned(partitions.map { ($0, nil) }, at: start)
        let first = asked(offsets.advance(at: start))
        #expect(first == partitions.prefix(Offsets.maximumAsked).map { ObjectIdentifier($0) })
        #expect(offsets.next == nil)
        _ = offsets.answered(partitions[3], .success(nil), at: start)
        #expect(asked(offsets.advance(at: start)) == [ObjectIdentifier(partitions[Offsets.maximumAsked])])
    }

    @Test func aRevocationEndsWhatIsAskedAndWhatWaits() {
        var offsets = Offsets()
        let (one, other) = (Partition(), Partition())
        offsets.assigned([(one, nil), (other, nil)], at: start)
        _ = offsets.advance(at: start)
        _ = offsets.answered(other, .failure(Failure()), at: start)
        #expect(cancelled(offsets.ended([one, other])) == [ObjectIdentifier(one)])
        #expect(offsets.next == nil)
        #expect(isOutdated(offsets.answered(one, .success(5), at: start)))
        #expect(offsets.advance(at: later(60_000)).isEmpty)
    }
}
