import Testing

@testable import KafkaDelivery

/// Counting starts: what may be handed out, and what is noted before it is.
struct StartGuardTests {
    /// Plays one process after the other over a partition of messages, as the consumer's shell does, until none dies.
    private struct Partition {
        let end: Int64
        var fatal: Set<Int64>
        let maximumStarts: Int
        /// What the broker has.
        var committed: Int64 = 0
        var note = StartNote.none
        var handled: [Int64] = []
        var deadLettered: [Int64] = []
        var starts = 0
        /// What was in hand, or uncommitted, when a process died.
        var uncommittedAtDeath: [UInt64] = []

        init(end: Int64, fatal: Set<Int64>, maximumStarts: Int) {
            self.end = end
            self.fatal = fatal
            self.maximumStarts = maximumStarts
        }

        /// One process; false where it died. It commits by itself only every `commitEvery` messages.
        mutating func run(commitEvery: Int) -> Bool {
            starts += 1
            var starts = StartGuard(maximumStarts: maximumStarts)
            starts.read(note)
            starts.setOneAtATime(starts.isSuspect)
            var next = committed
            var settled: UInt64 = 0
            var committedCount: UInt64 = 0
            func commit(_ partition: inout Partition) {
                partition.note = starts.note(at: next, isCleanEnd: false)
                partition.committed = next
                committedCount = settled
                starts.didCommit(next, partition.note, settled: settled)
                if starts.isOneAtATime, !starts.isSuspect { starts.setOneAtATime(false) }
            }
            while next < end {
                switch starts.offer(next, uncommitted: settled - committedCount) {
                case .wait: Issue.record("nothing would ever answer"); return true
                case .ask:
                    starts.beginTurn()
                    commit(&self)
                    _ = starts.grantTurn()
                case .handOut:
                    if starts.isCulprit(next) {
                        deadLettered.append(next)
                    } else if fatal.contains(next) {
                        uncommittedAtDeath.append(settled - committedCount)
                        return false
                    } else {
                        handled.append(next)
                    }
                    starts.endTurn()
                    settled += 1
                    next += 1
                    if settled - committedCount >= commitEvery { commit(&self) }
                }
            }
            note = starts.note(at: next, isCleanEnd: true)
            committed = next
            return true
        }
    }

    @Test(arguments: [1, 10, 1_000, 1_000_000], [0, 1, 63, 64, 65, 500, 4_999] as [Int64])
    func aMessageThatKillsIsFoundAndNothingElseIsGivenUp(commitEvery: Int, fatal: Int64) throws {
        var partition = Partition(end: 5_000, fatal: [fatal], maximumStarts: 3)
        while !partition.run(commitEvery: commitEvery) { try #require(partition.starts < 12) }
        #expect(partition.deadLettered == [fatal])
        #expect(Set(partition.handled) == Set(0..<5_000).subtracting([fatal]))
        #expect(partition.note == .none)
        #expect(partition.committed == 5_000)
    }

    @Test func severalThatKillAreFoundOneAfterTheOther() throws {
        let fatal: Set<Int64> = [3, 4, 40, 300, 4_000]
        var partition = Partition(end: 5_000, fatal: fatal, maximumStarts: 2)
        while !partition.run(commitEvery: 1_000_000) { try #require(partition.starts < 40) }
        #expect(Set(partition.deadLettered) == fatal)
        #expect(partition.deadLettered.count == fatal.count)
        #expect(Set(partition.handled) == Set(0..<5_000).subtracting(fatal))
    }

    @Test func aProcessThatDiedMakesTheNextOneCareful() throws {
        var partition = Partition(end: 5_000, fatal: [4_500], maximumStarts: 3)
        while !partition.run(commitEvery: 1_000_000) { try #require(partition.starts < 12) }
        // The first one hands out freely. Those after it commit as they go, and so stand just before the culprit.
        #expect(partition.uncommittedAtDeath.first == 4_500)
        #expect(partition.uncommittedAtDeath.dropFirst().allSatisfy { $0 < StartGuard.suspectCount })
    }

    @Test func oneStartIsNotedBeforeTheFirstMessageIsHandedOut() {
        var starts = StartGuard(maximumStarts: 3)
        let answer1 = starts.offer(7, uncommitted: 0)
        #expect(answer1 == .wait, "what is committed is not known yet")
        starts.read(.none)
        let answer2 = starts.offer(7, uncommitted: 0)
        #expect(answer2 == .ask)
        let answer3 = starts.offer(7, uncommitted: 0)
        #expect(answer3 == .wait)
        let note = starts.note(at: 7, isCleanEnd: false)
        #expect(note == StartNote(starts: 1))
        starts.didCommit(7, note, settled: 0)
        let answer4 = starts.offer(7, uncommitted: 0)
        #expect(answer4 == .handOut)
        #expect(starts.note(at: 7, isCleanEnd: false) == note, "nothing new to commit")
    }

    @Test func progressAndACleanEndTakeTheStartBack() {
        var starts = StartGuard(maximumStarts: 3)
        starts.read(StartNote(starts: 0))
        _ = starts.offer(7, uncommitted: 0)
        starts.didCommit(7, StartNote(starts: 1), settled: 0)
        #expect(starts.note(at: 8, isCleanEnd: false) == .none)
        #expect(starts.note(at: 7, isCleanEnd: true) == .none)
    }

    @Test func aCleanEndForgetsStartsAndKeepsCulprits() {
        var starts = StartGuard(maximumStarts: 3)
        starts.read(StartNote(starts: 4, trial: 9, culprits: [8]))
        #expect(starts.note(at: 7, isCleanEnd: true) == StartNote(culprits: [8, 9]))
        #expect(starts.note(at: 9, isCleanEnd: true) == StartNote(culprits: [9]))
    }

    @Test func aTrialThatIsNotedNamesTheCulpritWhateverTheCount() {
        var starts = StartGuard(maximumStarts: 3)
        starts.read(StartNote(starts: 1, trial: 9))
        #expect(starts.isSuspect)
        #expect(starts.isCulprit(9))
        #expect(!starts.isCulprit(8))
    }

    @Test func whatThisProcessNotedItselfHasKilledNobody() {
        var starts = StartGuard(maximumStarts: 3)
        starts.read(StartNote(starts: 3, trial: 9, culprits: [8]), isOwn: true)
        #expect(starts.earlierStarts == 2)
        #expect(!starts.isCulprit(9))
        #expect(starts.isCulprit(8), "another process died of it")
    }

    @Test func theEndOfThePartitionEndsTheSuspicion() {
        var starts = StartGuard(maximumStarts: 3)
        starts.read(StartNote(starts: 5))
        #expect(starts.isSuspect)
        starts.reachedEnd(isEmpty: true)
        #expect(!starts.isSuspect, "what killed the process is not there any more")
        #expect(starts.note(at: 3, isCleanEnd: false).starts <= 1)
    }

    @Test func theEndSeenBeforeTheOffsetsAreKnownCountsToo() {
        var starts = StartGuard(maximumStarts: 3)
        starts.reachedEnd(isEmpty: true)
        starts.read(StartNote(starts: 5))
        #expect(!starts.isSuspect)
    }

    @Test func theEndWithSomethingInHandEndsNothing() {
        var starts = StartGuard(maximumStarts: 3)
        starts.read(StartNote(starts: 5))
        let answer5 = starts.offer(3, uncommitted: 0)
        #expect(answer5 == .ask)
        starts.didCommit(3, StartNote(starts: 6), settled: 0)
        let answer6 = starts.offer(3, uncommitted: 0)
        #expect(answer6 == .handOut)
        starts.reachedEnd(isEmpty: false)
        #expect(starts.isSuspect)
        starts.settledAll()
        #expect(!starts.isSuspect)
    }

    @Test func aTurnIsGrantedOnceItIsNoted() {
        var starts = StartGuard(maximumStarts: 2)
        starts.read(StartNote(starts: 2))
        starts.setOneAtATime(true)
        _ = starts.offer(3, uncommitted: 0)
        starts.didCommit(3, starts.note(at: 3, isCleanEnd: false), settled: 0)
        let answer7 = starts.offer(3, uncommitted: 0)
        #expect(answer7 == .ask)
        #expect(starts.turn == .wanted(3))
        starts.beginTurn()
        let answer12 = starts.grantTurn()
        #expect(!answer12, "the broker has not been told")
        let note = starts.note(at: 3, isCleanEnd: false)
        #expect(note == StartNote(starts: 3, trial: 3))
        starts.didCommit(3, note, settled: 0)
        let answer8 = starts.grantTurn()
        #expect(answer8)
        let answer9 = starts.offer(3, uncommitted: 0)
        #expect(answer9 == .handOut)
        let answer10 = starts.offer(4, uncommitted: 1)
        #expect(answer10 == .wait, "another one is in hand")
        starts.endTurn()
        #expect(starts.note(at: 4, isCleanEnd: false).trial == nil)
        let answer11 = starts.offer(4, uncommitted: 1)
        #expect(answer11 == .ask)
    }

    @Test func aLogThatWasMadeAnewHasNoCulprits() {
        var starts = StartGuard(maximumStarts: 2)
        starts.read(StartNote(starts: 9, trial: 5, culprits: [4]))
        starts.restart()
        #expect(!starts.isSuspect)
        #expect(!starts.isCulprit(5))
        #expect(starts.note(at: 1, isCleanEnd: false) == .none)
    }

    @Test func oneStartIsNeverEnoughForATrial() {
        for maximum in [Int.min, -1, 0, 1] {
            var starts = StartGuard(maximumStarts: maximum)
            starts.read(StartNote(starts: 1))
            #expect(!starts.isSuspect)
        }
    }

    @Test func turnsGoRound() {
        var turns = TurnQueue()
        let partitions = (0..<4).map { KafkaTopicPartition(topic: "t", partition: $0) }
        let answer13 = turns.begin()
        #expect(answer13 == nil)
        for partition in partitions.dropLast() + partitions.prefix(1) { turns.add(partition, isUrgent: false) }
        turns.add(partitions[3], isUrgent: true)
        let answer14 = turns.begin()
        #expect(answer14 == partitions[3])
        let answer15 = turns.begin()
        #expect(answer15 == nil, "one at a time")
        turns.postpone()
        let answer16 = turns.begin()
        #expect(answer16 == partitions[3])
        turns.end()
        let answer17 = turns.begin()
        #expect(answer17 == partitions[0])
        turns.remove(partitions[0])
        turns.remove(partitions[1])
        let answer18 = turns.begin()
        #expect(answer18 == partitions[2])
        turns.end()
        let answer19 = turns.begin()
        #expect(answer19 == nil)
    }
}
