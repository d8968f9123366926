import Testing

@testable import KafkaDelivery

/// Nothing is committed while a member is on its way into the group's next generation.
struct JoiningTests {
    private static func membership(_ states: String..., coordinator: String = "up", id: String = "rdkafka-1")
        -> GroupMembership
    {
        var membership = GroupMembership()
        _ = membership.note("CGRPSTATE", "Group \"a\" changed state init -> \(coordinator) (join-state init)")
        _ = membership.note("MEMBERID", "Group \"a\": updating member id \"(not-set)\" -> \"\(id)\"")
        for state in states {
            // A group's name may be anything.
            let line = "[thrd:main]: Group \"a -> init b\" changed join state steady -> \(state) (state up)"
            let isUnderstood = membership.note("CGRPJOINSTATE", line)
            #expect(isUnderstood)
        }
        return membership
    }

    @Test(arguments: [
        ("init", true), ("wait-metadata", true), ("wait-join", true), ("wait-sync", true), ("wait-assign-call", false),
        ("wait-unassign-call", false), ("wait-incr-unassign-to-complete", false), ("steady", false),
    ])
    func theLogTellsWhetherAMemberIsJoining(state: String, isJoining: Bool) {
        #expect(Self.membership(state).isJoining == isJoining)
        #expect(Self.membership(state).isSteady == (state == "steady"))
    }

    @Test(arguments: [
        ("init", false), ("wait-metadata", false), ("wait-join", false), ("wait-sync", false),
        ("wait-assign-call", false),
        ("wait-unassign-call", true), ("wait-unassign-to-complete", false), ("wait-incr-unassign-to-complete", false),
        ("steady", true),
    ])
    func theLogTellsWhetherTheGroupWouldHearOfALeave(state: String, isSo: Bool) {
        #expect(Self.membership(state).maySayGoodbye == isSo)
        // Nobody is there to hear it.
        #expect(!Self.membership(state, coordinator: "wait-broker-transport").maySayGoodbye)
        // One without an id is a member only when it has asked to join; but librdkafka has to accept an assignment before it can leave.
        let leavesAtOnce = ["init", "wait-metadata", "wait-sync", "wait-unassign-call", "steady"].contains(state)
        #expect(Self.membership(state, id: "").maySayGoodbye == leavesAtOnce)
    }

    /// All its topics were deleted: librdkafka stays where it is and does not join.
    @Test func aMemberThatHasNothingToReadMayLeaveAtOnce() {
        let line =
            "[thrd:main]: Group \"a\": no matching topics based on 12ms old metadata: next metadata refresh in 9ms"
        var membership = Self.membership("wait-unassign-call", "init")
        let before = membership
        _ = membership.note("JOIN", line)
        #expect(membership.maySayGoodbye)
        #expect(membership.hasComeOn(since: before))
        // It joins, because a topic is there again.
        _ = membership.note("CGRPJOINSTATE", "Group \"a\" changed join state init -> wait-join (state up)")
        #expect(!membership.maySayGoodbye)
        _ = membership.note("CGRPJOINSTATE", "Group \"a\" changed join state wait-join -> init (state up)")
        #expect(!membership.maySayGoodbye)
        // Nobody is there to hear it.
        membership = Self.membership("init", coordinator: "wait-broker-transport")
        _ = membership.note("JOIN", line)
        #expect(!membership.maySayGoodbye)
    }

    @Test(arguments: ["", "Group \"billing\" changed state up -", "->", "Heartbeat for group \"billing\""])
    func anotherLineTellsNothing(line: String) {
        var membership = GroupMembership()
        for facility in ["CGRPJOINSTATE", "CGRPSTATE", "MEMBERID", "HEARTBEAT", "JOIN"] {
            let isUnderstood = membership.note(facility, line)
            #expect(!isUnderstood)
        }
        #expect(!membership.isJoining)
        #expect(membership.isSteady)
        #expect(membership.maySayGoodbye)
    }

    @Test func aCommitWaitsForTheEndOfJoining() {
        var committer = Committer()
        let start = ContinuousClock.now
        committer.schedule(at: start)
        committer.note(isJoining: true, at: start, limit: .seconds(10))
        #expect(!committer.isDue(at: start))
        #expect(committer.nextBegin == start.advanced(by: .seconds(10)))
        committer.note(isJoining: false, at: start.advanced(by: .seconds(1)), limit: .seconds(10))
        #expect(committer.isDue(at: start.advanced(by: .seconds(1))))
    }

    @Test func aMemberCommitsNothingBehindAJoinThatIsNotAnswered() {
        var committer = Committer()
        let start = ContinuousClock.now
        committer.schedule(at: start)
        committer.note(isJoining: true, at: start, limit: .seconds(10))
        let asked = start.advanced(by: .seconds(5))
        committer.note(isJoining: true, at: asked, limit: .seconds(300))
        #expect(committer.nextBegin == asked.advanced(by: .seconds(300)))
        // Told anew, the limit counts from then.
        let closing = start.advanced(by: .seconds(100))
        committer.note(isJoining: true, at: closing, limit: .milliseconds(500))
        #expect(committer.nextBegin == closing.advanced(by: .milliseconds(500)))
        committer.note(isJoining: false, at: closing, limit: .milliseconds(500))
        #expect(committer.isDue(at: closing))
    }

    @Test(arguments: [
        ("init", false), ("wait-metadata", false), ("wait-join", true), ("wait-sync", true), ("steady", false),
    ])
    func theLogTellsWhetherAJoinIsNotAnswered(state: String, isAsked: Bool) {
        #expect(Self.membership(state).isJoinAsked == isAsked)
    }

    @Test func aMemberThatIsAboutToJoinForLongCommitsNowAndThen() {
        var committer = Committer()
        let start = ContinuousClock.now
        let limit = Duration.seconds(10)
        committer.schedule(at: start)
        committer.note(isJoining: true, at: start, limit: limit)
        // Asking again does not put it off.
        committer.note(isJoining: true, at: start.advanced(by: .seconds(9)), limit: limit)
        let end = start.advanced(by: limit)
        committer.note(isJoining: true, at: end, limit: limit)
        #expect(committer.isDue(at: end))
        _ = committer.begin([], at: end)
        committer.schedule(at: end)
        committer.note(isJoining: true, at: end, limit: limit)
        #expect(committer.nextBegin == end.advanced(by: limit))
    }
}
