import Testing

@testable import KafkaDelivery

/// Nothing is committed while a member is on its way into the group's next generation.
struct JoiningTests {
    @Test(arguments: [
        ("Group \"billing\" changed join state steady -> init (state up)", true),
        ("Group \"billing\" changed join state init -> wait-metadata (state up)", true),
        ("Group \"billing\" changed join state wait-metadata -> wait-join (state up)", true),
        ("Group \"billing\" changed join state wait-join -> wait-sync (state up)", true),
        ("Group \"billing\" changed join state wait-sync -> wait-assign-call (state up)", false),
        ("Group \"billing\" changed join state steady -> wait-unassign-call (state up)", false),
        ("Group \"billing\" changed join state wait-assign-call -> steady (state up)", false),
        ("[thrd:main]: Group \"a -> init b\" changed join state wait-assign-call -> steady (state up)", false),
    ])
    func theLogTellsWhetherAMemberIsJoining(line: String, isJoining: Bool) {
        #expect(GroupLog.isJoining(after: line) == isJoining)
    }

    @Test(arguments: ["", "Group \"billing\" changed state up -", "->", "Heartbeat for group \"billing\""])
    func anotherLineTellsNothing(line: String) {
        #expect(GroupLog.isJoining(after: line) == nil)
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

    @Test func aMemberThatJoinsForLongCommitsNowAndThen() {
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
