import Testing

@testable import KafkaDelivery

/// What a message is that does not come after the last one.
struct LogLifeTests {
    /// After the offsets were read, each under a leader epoch.
    private static func life(_ offsets: Int64..., epoch: Int32 = -1) -> LogLife {
        var life = LogLife(knownResets: 0)
        for offset in offsets { life.read(offset, epoch: epoch) }
        return life
    }

    private static func resets(_ offsets: Int64...) -> OffsetResets.News {
        OffsetResets.News(count: offsets.count, highest: offsets.max() ?? -1)
    }

    /// The handler of the message before may have taken as long as it likes.
    @Test func whatWasReadIsARepetitionHoweverLateItComes() {
        let life = Self.life(10, 11, 12)
        #expect([10, 11, 12].map { life.relation(of: $0, epoch: -1) } == [.repeated, .repeated, .repeated])
        #expect(life.relation(of: 13, epoch: -1) == .next)
        #expect(life.relation(of: 500, epoch: -1) == .next)
    }

    /// All that was read comes again after it, so that nothing is lost.
    @Test func whatIsBeforeTheFirstMessageBeginsAgain() {
        #expect(Self.life(10, 11).relation(of: 9, epoch: -1) == .anotherLog)
    }

    @Test func whatAnotherLeaderHasStoredIsAnotherMessage() {
        let life = Self.life(10, 11, epoch: 4)
        #expect(life.relation(of: 11, epoch: 5) == .anotherLog)
        #expect(life.relation(of: 11, epoch: 4) == .repeated)
        #expect(life.relation(of: 10, epoch: 3) == .repeated)
        #expect(life.relation(of: 11, epoch: -1) == .repeated)
        #expect(Self.life(10, 11).relation(of: 11, epoch: 5) == .repeated)
    }

    /// 61 is asked for where it was read up to there; 60 where librdkafka went back to the last message in a rebalance.
    @Test(arguments: [60, 61, 75] as [Int64])
    func whatComesAfterAResetIsOfAnotherLog(asked: Int64) {
        for isNotedByReader in [false, true] {
            var life = Self.life(59, 60)
            life.note(Self.resets(asked), next: isNotedByReader ? 0 : nil, start: 61, isFetched: true)
            #expect(life.isUnresolved)
            #expect(life.knownResets == 1)
            for offset in [0, 59, 60] as [Int64] { #expect(life.relation(of: offset, epoch: -1) == .anotherLog) }
            #expect(life.holdsCommit(61))
            #expect(life.holdsCommit(nil))
            life.beginAgain()
            life.read(0, epoch: -1)
            #expect(life.relation(of: 0, epoch: -1) == .repeated)
            #expect(!life.holdsCommit(1))
        }
    }

    @Test func whatRetentionHasLeftIsTheSameLog() {
        var life = Self.life(59, 60)
        life.note(Self.resets(61), next: 100, start: 61, isFetched: true)
        #expect(!life.isUnresolved)
        #expect(!life.holdsCommit(61))
        life.read(100, epoch: -1)
        #expect(life.relation(of: 100, epoch: -1) == .repeated)

        // The same, noted before the message was read.
        life = Self.life(59, 60)
        life.note(Self.resets(61), next: nil, start: 61, isFetched: true)
        #expect(life.holdsCommit(61))
        life.read(100, epoch: -1)
        #expect(life.relation(of: 100, epoch: -1) == .repeated)
        #expect(!life.holdsCommit(101))
    }

    /// What was fetched before a reset is read after it.
    @Test func whatWasFetchedBeforeAResetDoesNotEndIt() {
        var life = Self.life(50)
        life.note(Self.resets(61), next: 51, start: 51, isFetched: true)
        life.read(51, epoch: -1)
        #expect(life.isUnresolved)
        #expect(life.relation(of: 0, epoch: -1) == .anotherLog)
        #expect(life.holdsCommit(52))
    }

    /// The committed offset is gone, of which it is known that nothing was fetched there.
    @Test func aResetBeforeTheFirstMessageIsOver() {
        var atOffset = LogLife(knownResets: 0)
        atOffset.note(Self.resets(1_000), next: 1_200, start: -1_000, isFetched: true)
        var empty = LogLife(knownResets: 0)
        empty.note(Self.resets(1_000), next: nil, start: -1_000, isFetched: false)
        var sought = LogLife(knownResets: 0)
        sought.note(Self.resets(1_000), next: 0, start: 1_000, isFetched: true)
        for var life in [atOffset, empty, sought] {
            #expect(life.knownResets == 1)
            life.read(1_200, epoch: -1)
            // A rebalance fetches it again.
            #expect(life.relation(of: 1_200, epoch: -1) == .repeated)
            #expect(!life.holdsCommit(1_201))
        }
    }

    /// It may have been fetched from the old place, and from the new one.
    @Test func aResetBeforeTheFirstMessageMayLeaveADoubt() {
        var life = LogLife(knownResets: 0)
        life.note(Self.resets(1_000), next: nil, start: -1_000, isFetched: true)
        #expect(life.knownResets == 0)
        life.note(Self.resets(1_000), next: 5, start: -1_000, isFetched: true)
        #expect(life.knownResets == 1)
        life.read(5, epoch: -1)
        #expect(life.relation(of: 5, epoch: -1) == .doubtful)
        #expect(!life.holdsCommit(6))
        life.read(1_000, epoch: -1)
        #expect(life.relation(of: 1_000, epoch: -1) == .repeated)
    }

    @Test func ofSeveralResetsTheHighestOffsetCounts() {
        let resets = OffsetResets()
        let count = resets.count(of: .init(topic: "a", partition: 0))
        for offset in [7, 61, 5] {
            #expect(resets.note("a [0]: offset reset (at offset \(offset), broker 1) to END: why"))
        }
        #expect(count.news(since: 0).count == 3)
        #expect(count.news(since: 0).highest == 61)
        #expect(count.news(since: 2).highest == 5)
        #expect(count.news(since: 3).highest == -1)
        var life = Self.life(50)
        life.note(count.news(since: 0), next: nil, start: 51, isFetched: true)
        life.read(55, epoch: -1)
        #expect(life.isUnresolved)
    }
}
