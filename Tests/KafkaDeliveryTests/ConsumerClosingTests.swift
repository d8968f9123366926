import Testing

@testable import KafkaDelivery

/// Closing a consumer: what is waited for, for how long, and what librdkafka may be answered meanwhile.
struct ConsumerClosingTests {
    /// What is seen from outside.
    private struct Facts {
        var isDrained = true
        var isCommitted = true
        var maySayGoodbye = true
        var hasLeft = false
    }

    private let start = ContinuousClock.now

    private func later(_ milliseconds: Int) -> ContinuousClock.Instant {
        start.advanced(by: .milliseconds(milliseconds))
    }

    private func step(_ closing: inout ConsumerClosing, after milliseconds: Int, _ facts: Facts) -> [ConsumerClosing
        .Action]
    {
        closing.advance(
            at: later(milliseconds),
            isDrained: facts.isDrained,
            isCommitted: facts.isCommitted,
            maySayGoodbye: facts.maySayGoodbye,
            hasLeft: facts.hasLeft
        )
    }

    /// Begun, with so much time.
    private func closing(within milliseconds: Int) -> ConsumerClosing {
        var closing = ConsumerClosing()
        let isFirst = closing.begin(by: later(milliseconds), at: start)
        #expect(isFirst)
        return closing
    }

    @Test func anOpenConsumerDoesNotClose() {
        var closing = ConsumerClosing()
        #expect(!closing.isUnderWay && !closing.isLeaving && !closing.hasEnded)
        #expect(closing.next == nil)
        let actions = step(&closing, after: 0, Facts(hasLeft: true))
        #expect(actions == [])
        closing.noteUnsettled(3)
        #expect(closing.unsettled == 0, "a rebalance before closing is not part of it")
    }

    @Test func aConsumerThatHasNothingInHandCommitsLeavesItsGroupAndEnds() {
        var closing = closing(within: 8_000)
        var actions = step(&closing, after: 0, Facts())
        #expect(actions == [.commit])
        actions = step(&closing, after: 0, Facts(isCommitted: false))
        #expect(actions == [], "the commit is not answered")
        actions = step(&closing, after: 10, Facts())
        #expect(actions == [.leave])
        #expect(closing.isLeaving && !closing.isSilent)
        actions = step(&closing, after: 20, Facts())
        #expect(actions == [], "librdkafka is not done")
        actions = step(&closing, after: 30, Facts(hasLeft: true))
        #expect(actions == [.finish])
        #expect(closing.hasEnded)
    }

    @Test func eachPhaseOfClosingEndsWithItsShareOfTheTimeout() {
        var closing = closing(within: 8_000)
        let stuck = Facts(isDrained: false, isCommitted: false, maySayGoodbye: false)
        #expect(closing.next == later(4_000), "two seconds for the commit, two to leave")
        var actions = step(&closing, after: 3_999, stuck)
        #expect(actions == [])
        actions = step(&closing, after: 4_000, stuck)
        #expect(actions == [.commit])
        #expect(closing.next == later(6_000))
        actions = step(&closing, after: 6_000, stuck)
        #expect(actions == [], "a member that is joining cannot say goodbye")
        #expect(closing.next == later(7_500))
        actions = step(&closing, after: 7_500, stuck)
        #expect(actions == [.leave])
        #expect(closing.isSilent, "the group does not hear of it")
        #expect(closing.next == later(8_000))
        actions = step(&closing, after: 8_000, stuck)
        #expect(actions == [.finish])
        #expect(!closing.hasEnded, "librdkafka still waits for an answer")
        #expect(closing.next == nil)
        actions = step(&closing, after: 60_000, stuck)
        #expect(actions == [], "told once")
        actions = step(&closing, after: 60_000, Facts(hasLeft: true))
        #expect(actions == [] && closing.hasEnded)
    }

    @Test func closingAgainCanOnlyShortenTheTimeout() {
        var closing = closing(within: 8_000)
        var isFirst = closing.begin(by: later(60_000), at: start)
        #expect(!isFirst)
        #expect(closing.next == later(4_000))
        isFirst = closing.begin(by: later(400), at: start)
        #expect(!isFirst)
        #expect(closing.next == later(200))
        #expect(phases(&closing) == ["200 commit", "300", "375 leave", "400 finish"])
    }

    @Test func closingAgainWithMoreTimeLengthensNoPhase() {
        var closing = closing(within: 800)
        _ = closing.begin(by: later(60_000), at: start)
        #expect(phases(&closing) == ["400 commit", "600", "750 leave", "800 finish"])
    }

    @Test(arguments: [
        ([], 1_000, 200, ["600 commit", "800", "950 leave", "1000 finish"]),
        ([4_000], 5_000, 4_200, ["4800", "4950 leave", "5000 finish"]),
        ([4_000, 6_000], 7_000, 6_200, ["6800 leave", "7000 finish"]),
        ([4_000, 6_000, 7_500], 7_600, 7_500, ["7600 finish"]),
    ])
    func closingAgainWithLessTimeShortensThePhaseThatItIsIn(ends: [Int], deadline: Int, now: Int, rest: [String]) {
        var closing = closing(within: 8_000)
        for end in ends {
            _ = step(&closing, after: end, Facts(isDrained: false, isCommitted: false, maySayGoodbye: false))
        }
        _ = closing.begin(by: later(deadline), at: later(now))
        #expect(phases(&closing) == rest)
    }

    /// Runs to the end of the time with nothing done in it: when each phase is over, in milliseconds, and what comes of that.
    private func phases(_ closing: inout ConsumerClosing) -> [String] {
        var phases: [String] = []
        while phases.count < 10, let next = closing.next {
            let actions = closing.advance(
                at: next,
                isDrained: false,
                isCommitted: false,
                maySayGoodbye: false,
                hasLeft: false
            )
            let time = start.duration(to: next) / .milliseconds(1)
            phases.append(([String(Int(time))] + actions.map { "\($0)" }).joined(separator: " "))
        }
        return phases
    }

    @Test func aCommitUnderWayDoesNotMakeAMemberLeaveBeforeItsJoinIsAnswered() {
        var closing = closing(within: 8_000)
        var actions = step(&closing, after: 0, Facts())
        #expect(actions == [.commit])
        actions = step(&closing, after: 0, Facts(maySayGoodbye: false))
        #expect(actions == [])
        actions = step(&closing, after: 100, Facts())
        #expect(actions == [.leave])
        #expect(!closing.isSilent)
    }

    @Test func librdkafkaIsGivenTheLastAnswerToARebalanceOnceAfterItWasToldToLeave() {
        var closing = closing(within: 8_000)
        var answers = [closing.takeAnswer(), closing.takeAnswer()]
        #expect(answers == [.any, .any])
        closing.told(waitsForAnswer: true)
        answers = [closing.takeAnswer(), closing.takeAnswer()]
        #expect(answers == [.last, .none])
        closing.told(waitsForAnswer: false)
        answers = [closing.takeAnswer()]
        #expect(answers == [.none], "an eager group does not wait for it")
    }

    @Test func whatWasGivenBackUnsettledWhileClosingIsCounted() {
        var closing = closing(within: 8_000)
        closing.noteUnsettled(2)
        closing.noteUnsettled(3)
        #expect(closing.unsettled == 5)
    }

    @Test func aConsumerWithoutAGroupToLeaveEndsAtOnce() {
        var closing = closing(within: 8_000)
        closing.end()
        #expect(closing.hasEnded && closing.isLeaving)
        let actions = step(&closing, after: 8_000, Facts())
        #expect(actions == [])
    }
}
