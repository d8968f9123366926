import Testing

@testable import KafkaDelivery

/// What a partition's reader keeps, as values.
struct PartitionDutiesTests {
    private let now = ContinuousClock.now

    private func later(_ seconds: Int) -> ContinuousClock.Instant { now.advanced(by: .seconds(seconds)) }

    private func next(_ rejected: inout RejectedMessages<String>, at now: ContinuousClock.Instant) -> String {
        switch rejected.next(at: now) {
        case .message(let message): message
        case .wait: "wait"
        case .none: "none"
        }
    }

    @Test func rejectedMessagesComeInTheOrderOfThePartitionWhenTheirTimeHasCome() {
        var rejected = RejectedMessages<String>()
        rejected.keep("third", 3, due: now, holdsPartition: false)
        rejected.keep("first", 1, due: later(5), holdsPartition: false)
        rejected.keep("second", 2, due: now, holdsPartition: false)
        #expect(next(&rejected, at: now) == "second")
        #expect(next(&rejected, at: now) == "third")
        #expect(next(&rejected, at: now) == "none")
        #expect(!rejected.isEmpty)
        #expect(next(&rejected, at: later(5)) == "first")
        #expect(rejected.isEmpty)
    }

    @Test func nothingAfterARejectedMessageThatHoldsThePartitionComesBeforeIt() {
        var rejected = RejectedMessages<String>()
        rejected.keep("held", 2, due: now, holdsPartition: true)
        rejected.keep("holding", 1, due: later(5), holdsPartition: true)
        rejected.keep("before", 0, due: now, holdsPartition: false)
        #expect(next(&rejected, at: now) == "before")
        #expect(next(&rejected, at: now) == "wait")
        #expect(next(&rejected, at: later(5)) == "holding")
        #expect(rejected.removeAll() == ["held"])
        #expect(rejected.isEmpty)
    }

    @Test func nothingIsHandedOutUntilTheLastOfSeveralSeeksIsOver() {
        var gate = HandOutGate()
        #expect(gate.beginSeek() && gate.beginSeek())
        gate.finishSeek()
        #expect(gate.isSeeking && gate.isHeld)
        gate.pause()
        gate.finishSeek()
        #expect(!gate.isSeeking && gate.isHeld)
        let wasPaused = gate.resume()
        #expect(wasPaused && !gate.isHeld)
        let wasPausedStill = gate.resume()
        #expect(!wasPausedStill)
    }

    @Test func aPartitionThatIsNotReadAnyMoreBeginsNoSeekAndStaysEnded() {
        var gate = HandOutGate()
        gate.stop()
        let begins = gate.beginSeek()
        #expect(!begins && gate.phase == .stopped)
        gate.end()
        gate.stop()
        #expect(gate.phase == .ended)
    }

    @Test func theFirstFailureCountsUntilThePartitionBeginsAgain() {
        var gate = HandOutGate()
        gate.fail(.closed(), isFetchStopped: false)
        gate.fail(.cancelled(persistence: nil), isFetchStopped: true)
        #expect(gate.failure?.kind == .closed)
        #expect(gate.isFetchStopped)
        gate.beginAgain()
        #expect(gate.failure == nil && !gate.isFetchStopped)
    }

    @Test func aPartitionHasDeliveriesOfOneTransactionAndOfOneRun() {
        var transaction = PartitionTransaction()
        #expect(transaction.admits(1) && !transaction.isOpen)
        transaction.join(1, run: 4)
        transaction.join(1, run: 5)
        #expect(transaction.isOpen && transaction.admits(1) && !transaction.admits(2))
        #expect(transaction.belongs(to: 4) && !transaction.belongs(to: 5))
        transaction.end()
        #expect(!transaction.isOpen && transaction.admits(2))
    }

    @Test func theFetcherIsWokenAfterHalfOfWhatItMayPrefetchAndWhereAllIsRead() {
        let prefetch = KafkaConsumer.Configuration.Prefetch(maximumMessages: 4, maximumBytes: 1_000)
        var use = PrefetchUse()
        let beforeAnything = use.takeRefill(of: prefetch, isAllRead: true)
        #expect(!beforeAnything)
        use.read(bytes: 1)
        let afterOne = use.takeRefill(of: prefetch, isAllRead: false)
        #expect(!afterOne)
        use.read(bytes: 1)
        let afterHalf = use.takeRefill(of: prefetch, isAllRead: false)
        let again = use.takeRefill(of: prefetch, isAllRead: true)
        #expect(afterHalf && !again)
        use.read(bytes: 500)
        let afterHalfOfTheBytes = use.takeRefill(of: prefetch, isAllRead: false)
        #expect(afterHalfOfTheBytes)
        use.read(bytes: 1)
        let whereAllIsRead = use.takeRefill(of: prefetch, isAllRead: true)
        #expect(whereAllIsRead)
    }

    @Test func aPartitionIsAtItsEndUntilTheNextMessageIsRead() {
        var position = ReadPosition()
        #expect(position.next == nil)
        position.reachedEnd(at: 7)
        #expect(position.isAtEnd && position.next == 7)
        position.read(7)
        #expect(!position.isAtEnd && position.next == 8)
        position.move(to: 3)
        #expect(position.next == 3)
    }
}
