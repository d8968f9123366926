import Testing

@testable import KafkaDelivery

/// Counting crashes: what may be handed out, and what is noted before it is.
struct PoisonDetectorTests {
    /// Plays one process after the other over a partition of messages, as the consumer's shell does, until none dies.
    private struct Partition {
        let end: Int64
        var fatal: Set<Int64>
        let maximumCrashes: Int
        /// What the broker has.
        var committed: Int64 = 0
        var note = CrashRecord.none
        var handled: [Int64] = []
        var deadLettered: [Int64] = []
        var crashes = 0
        /// What was in hand, or uncommitted, when a process died.
        var uncommittedAtDeath: [UInt64] = []

        init(end: Int64, fatal: Set<Int64>, maximumCrashes: Int) {
            self.end = end
            self.fatal = fatal
            self.maximumCrashes = maximumCrashes
        }

        /// One process; false where it died. It commits by itself only every `commitEvery` messages.
        mutating func run(commitEvery: Int) -> Bool {
            crashes += 1
            var detector = PoisonDetector(maximumCrashes: maximumCrashes)
            detector.read(note)
            detector.setOneAtATime(detector.needsProbing)
            var next = committed
            var settled: UInt64 = 0
            var committedCount: UInt64 = 0
            func commit(_ partition: inout Partition) {
                partition.note = detector.record(at: next, isCleanEnd: false)
                partition.committed = next
                committedCount = settled
                detector.didCommit(next, partition.note, settled: settled)
                if detector.isOneAtATime, !detector.needsProbing { detector.setOneAtATime(false) }
            }
            while next < end {
                switch detector.offer(next, uncommitted: settled - committedCount) {
                case .wait: Issue.record("nothing would ever answer"); return true
                case .ask:
                    detector.beginTurn()
                    commit(&self)
                    _ = detector.grantTurn()
                case .handOut:
                    if detector.isSuspect(next) {
                        deadLettered.append(next)
                    } else if fatal.contains(next) {
                        uncommittedAtDeath.append(settled - committedCount)
                        return false
                    } else {
                        handled.append(next)
                    }
                    detector.endTurn()
                    settled += 1
                    next += 1
                    if settled - committedCount >= commitEvery { commit(&self) }
                }
            }
            note = detector.record(at: next, isCleanEnd: true)
            committed = next
            return true
        }
    }

    /// What a value answers that the question changes.
    private func expect<Answer: Equatable>(
        _ answer: Answer,
        _ expected: Answer,
        _ comment: Comment? = nil,
        at location: SourceLocation = #_sourceLocation
    ) {
        #expect(answer == expected, comment, sourceLocation: location)
    }

    @Test(arguments: [1, 10, 1_000, 1_000_000], [0, 1, 63, 64, 65, 500, 4_999] as [Int64])
    func aMessageThatKillsIsFoundAndNothingElseIsGivenUp(commitEvery: Int, fatal: Int64) throws {
        var partition = Partition(end: 5_000, fatal: [fatal], maximumCrashes: 3)
        while !partition.run(commitEvery: commitEvery) { try #require(partition.crashes < 12) }
        #expect(partition.deadLettered == [fatal])
        #expect(Set(partition.handled) == Set(0..<5_000).subtracting([fatal]))
        #expect(partition.note == .none)
        #expect(partition.committed == 5_000)
    }

    @Test func severalThatKillAreFoundOneAfterTheOther() throws {
        let fatal: Set<Int64> = [3, 4, 40, 300, 4_000]
        var partition = Partition(end: 5_000, fatal: fatal, maximumCrashes: 2)
        while !partition.run(commitEvery: 1_000_000) { try #require(partition.crashes < 40) }
        #expect(Set(partition.deadLettered) == fatal)
        #expect(partition.deadLettered.count == fatal.count)
        #expect(Set(partition.handled) == Set(0..<5_000).subtracting(fatal))
    }

    @Test func aProcessThatDiedMakesTheNextOneCareful() throws {
        var partition = Partition(end: 5_000, fatal: [4_500], maximumCrashes: 3)
        while !partition.run(commitEvery: 1_000_000) { try #require(partition.crashes < 12) }
        // The first one hands out freely. Those after it commit as they go, and so stand just before the suspect.
        #expect(partition.uncommittedAtDeath.first == 4_500)
        #expect(partition.uncommittedAtDeath.dropFirst().allSatisfy { $0 < PoisonDetector.candidateCount })
    }

    @Test func oneCrashIsNotedBeforeTheFirstMessageIsHandedOut() {
        var detector = PoisonDetector(maximumCrashes: 3)
        expect(detector.offer(7, uncommitted: 0), .wait, "what is committed is not known yet")
        detector.read(.none)
        expect(detector.offer(7, uncommitted: 0), .ask)
        expect(detector.offer(7, uncommitted: 0), .wait)
        let note = detector.record(at: 7, isCleanEnd: false)
        #expect(note == CrashRecord(crashes: 1))
        detector.didCommit(7, note, settled: 0)
        expect(detector.offer(7, uncommitted: 0), .handOut)
        #expect(detector.record(at: 7, isCleanEnd: false) == note, "nothing new to commit")
    }

    @Test func progressAndACleanEndTakeTheCrashBack() {
        var detector = PoisonDetector(maximumCrashes: 3)
        detector.read(CrashRecord(crashes: 0))
        _ = detector.offer(7, uncommitted: 0)
        detector.didCommit(7, CrashRecord(crashes: 1), settled: 0)
        #expect(detector.record(at: 8, isCleanEnd: false) == .none)
        #expect(detector.record(at: 7, isCleanEnd: true) == .none)
    }

    @Test func aCleanEndForgetsCrashesAndKeepsSuspects() {
        var detector = PoisonDetector(maximumCrashes: 3)
        detector.read(CrashRecord(crashes: 4, probe: 9, suspects: [8]))
        #expect(detector.record(at: 7, isCleanEnd: true) == CrashRecord(suspects: [8, 9]))
        #expect(detector.record(at: 9, isCleanEnd: true) == CrashRecord(suspects: [9]))
    }

    @Test func aProbeThatIsNotedNamesTheSuspectWhateverTheCount() {
        var detector = PoisonDetector(maximumCrashes: 3)
        detector.read(CrashRecord(crashes: 1, probe: 9))
        #expect(detector.needsProbing)
        #expect(detector.isSuspect(9))
        #expect(!detector.isSuspect(8))
    }

    @Test func whatThisProcessNotedItselfHasKilledNoProcess() {
        var detector = PoisonDetector(maximumCrashes: 3)
        detector.read(CrashRecord(crashes: 3, probe: 9, suspects: [8]), isOwn: true)
        #expect(detector.earlierCrashes == 2)
        #expect(!detector.isSuspect(9))
        #expect(detector.isSuspect(8), "another process died of it")
    }

    @Test func theEndOfThePartitionEndsTheSuspicion() {
        var detector = PoisonDetector(maximumCrashes: 3)
        detector.read(CrashRecord(crashes: 5))
        #expect(detector.needsProbing)
        detector.reachedEnd(isEmpty: true)
        #expect(!detector.needsProbing, "what killed the process is not there any more")
        #expect(detector.record(at: 3, isCleanEnd: false).crashes <= 1)
    }

    @Test func theEndSeenBeforeTheOffsetsAreKnownCountsToo() {
        var detector = PoisonDetector(maximumCrashes: 3)
        detector.reachedEnd(isEmpty: true)
        detector.read(CrashRecord(crashes: 5))
        #expect(!detector.needsProbing)
    }

    @Test func theEndWithSomethingInHandEndsNothing() {
        var detector = PoisonDetector(maximumCrashes: 3)
        detector.read(CrashRecord(crashes: 5))
        expect(detector.offer(3, uncommitted: 0), .ask)
        detector.didCommit(3, CrashRecord(crashes: 6), settled: 0)
        expect(detector.offer(3, uncommitted: 0), .handOut)
        detector.reachedEnd(isEmpty: false)
        #expect(detector.needsProbing)
        detector.settledAll()
        #expect(!detector.needsProbing)
    }

    @Test func aTurnIsGrantedOnceItIsNoted() {
        var detector = PoisonDetector(maximumCrashes: 2)
        detector.read(CrashRecord(crashes: 2))
        detector.setOneAtATime(true)
        _ = detector.offer(3, uncommitted: 0)
        detector.didCommit(3, detector.record(at: 3, isCleanEnd: false), settled: 0)
        expect(detector.offer(3, uncommitted: 0), .ask)
        #expect(detector.turn == .wanted(3))
        detector.beginTurn()
        expect(detector.grantTurn(), false, "the broker has not been told")
        let note = detector.record(at: 3, isCleanEnd: false)
        #expect(note == CrashRecord(crashes: 3, probe: 3))
        detector.didCommit(3, note, settled: 0)
        expect(detector.grantTurn(), true)
        expect(detector.offer(3, uncommitted: 0), .handOut)
        expect(detector.offer(4, uncommitted: 1), .wait, "another one is in hand")
        detector.endTurn()
        #expect(detector.record(at: 4, isCleanEnd: false).probe == nil)
        expect(detector.offer(4, uncommitted: 1), .ask)
    }

    @Test func aLogThatWasMadeAnewHasNoSuspects() {
        var detector = PoisonDetector(maximumCrashes: 2)
        detector.read(CrashRecord(crashes: 9, probe: 5, suspects: [4]))
        detector.restart()
        #expect(!detector.needsProbing)
        #expect(!detector.isSuspect(5))
        #expect(detector.record(at: 1, isCleanEnd: false) == .none)
    }

    @Test func oneCrashIsNeverEnoughForAProbe() {
        for maximum in [Int.min, -1, 0, 1] {
            var detector = PoisonDetector(maximumCrashes: maximum)
            detector.read(CrashRecord(crashes: 1))
            #expect(!detector.needsProbing)
        }
    }

    @Test func turnsGoRound() {
        var turns = TurnQueue()
        let partitions = (0..<4).map { KafkaTopicPartition(topic: "t", partition: $0) }
        expect(turns.begin(), nil)
        for partition in partitions.dropLast() + partitions.prefix(1) { turns.add(partition, isUrgent: false) }
        turns.add(partitions[3], isUrgent: true)
        expect(turns.begin(), partitions[3])
        expect(turns.begin(), nil, "one at a time")
        turns.postpone()
        expect(turns.begin(), partitions[3])
        turns.end()
        expect(turns.begin(), partitions[0])
        turns.remove(partitions[0])
        turns.remove(partitions[1])
        expect(turns.begin(), partitions[2])
        turns.end()
        expect(turns.begin(), nil)
    }
}
