import Testing

@testable import KafkaDelivery

/// Where a message's outcome is put and awaited, whoever is first.
@Suite(.timeLimit(.minutes(1)))
struct SendSlotTests {
    private let metadata = RecordMetadata(offset: 7, millisecondsSince1970: -1, partition: 2)
    private let failure = KafkaError(.timedOut, persistence: .possiblyPersisted, recovery: .retry, reason: "too late")

    private func pending() -> KafkaProducer.PendingDelivery {
        let block = SendBlock(capacity: 3, ReportDemand())
        return KafkaProducer.PendingDelivery(block, block.slot(1), topic: "t")
    }

    @Test func anOutcomeThatIsThereIsReadWithoutWaiting() async throws {
        let stored = pending()
        stored.slot.resolve(metadata)
        let report = try await stored.report
        #expect((report.topic, report.partition, report.offset) == ("t", 2, 7))
        #expect(try await stored.onlyReport() == report)
        let failed = pending()
        failed.slot.resolve(failure)
        await #expect(throws: failure) { try await failed.report }
        await #expect(throws: failure) { try await failed.onlyReport() }
    }

    @Test func theFirstOutcomeCounts() async throws {
        let stored = pending()
        stored.slot.resolve(metadata)
        stored.slot.resolve(failure)
        #expect(try await stored.report.offset == 7)
        let failed = pending()
        failed.slot.resolve(failure)
        failed.slot.resolve(.closed())
        await #expect(throws: failure) { try await failed.report }
        let discarded = pending()
        #expect(discarded.slot.discard())
        #expect(!discarded.slot.discard())
        #expect(!failed.slot.discard(), "somebody may know its outcome")
    }

    @Test func giventUpSlotsGetTheSameOutcomeAndTheOthersKeepTheirs() async throws {
        let block = SendBlock(capacity: 3, ReportDemand())
        block.slot(1).resolve(metadata)
        block.failRest(failure)
        #expect(block.slot(0).result("t") == .failure(failure))
        #expect(try block.slot(1).result("t")?.get().offset == 7)
        #expect(block.slot(2).result("t") == .failure(failure))
    }

    @Test func everyoneWhoAwaitsTheSameIsToldAndWhoIsCancelledAtOnce() async throws {
        let pending = pending()
        let waiting = (0..<5).map { _ in Task { try await pending.report.offset } }
        let given = Task { try await pending.report.offset }
        given.cancel()
        await #expect(throws: KafkaError.cancelled(persistence: .possiblyPersisted)) { try await given.value }
        pending.slot.resolve(metadata)
        for task in waiting { #expect(try await task.value == 7) }
    }

    @Test func whoeverAlreadyIsCancelledDoesNotWait() async throws {
        let pending = pending()
        await #expect(throws: KafkaError.cancelled(persistence: .possiblyPersisted)) {
            try await Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await pending.onlyReport()
            }.value
        }
        // Its message is still under way.
        pending.slot.resolve(metadata)
        #expect(try await pending.report.offset == 7)
    }

    @Test(arguments: [true, false])
    func outcomeAndCancellationAtTheSameTimeWakeTheTaskOnce(isOnlyOne: Bool) async throws {
        for round in 0..<2_000 {
            let pending = pending()
            let waiting = Task {
                isOnlyOne ? try await pending.onlyReport() : try await pending.report
            }
            await withTaskGroup { group in
                group.addTask { pending.slot.resolve(metadata) }
                group.addTask { waiting.cancel() }
            }
            switch await waiting.result {
            case .success(let report): #expect(report.offset == 7, "round \(round)")
            case .failure(let error as KafkaError): #expect(error.kind == .cancelled, "round \(round)")
            case .failure(let error): throw error
            }
            #expect(try await pending.report.offset == 7, "the outcome is there for whoever asks later")
        }
    }
}

/// Sends on their way to whoever reads reports, and what counts as in flight.
struct SendInboxTests {
    @Test func singleSendsShareABlock() throws {
        let inbox = SendInbox(ReportDemand())
        var sends = SendsInFlight()
        let claims = (0..<SendBlock.sharedCapacity + 1).compactMap { _ in inbox.claim() }
        #expect(claims.filter(\.isLast).count == 1)
        #expect(claims[SendBlock.sharedCapacity - 1].isLast)
        #expect(Set(claims.map { ObjectIdentifier($0.block) }).count == 2)
        #expect(Set(claims.map(\.slot.opaque)).count == claims.count)
        sends.takeOverSealed(inbox)
        #expect(sends.count == SendBlock.sharedCapacity + 1)
        for claim in claims {
            let isLast = sends.settle(claim.slot.block, failure: nil)
            #expect(isLast == (claim.isLast || claim.block === claims.last?.block))
            if isLast { claim.slot.block.release() }
        }
        #expect(sends.count == 0)
        #expect(sends.isPast(sends.lastSequence))
    }

    @Test func aBlockThatIsSealedBeforeOrAfterItsReportsEndsWithTheLastOfThem() throws {
        let inbox = SendInbox(ReportDemand())
        var sends = SendsInFlight()
        let firstClaim = inbox.claim()
        let first = try #require(firstClaim)
        sends.takeOver(inbox)
        let isFirstLast = sends.settle(first.slot.block, failure: nil)
        #expect(!isFirstLast, "more sends may join it")
        #expect(!sends.isPast(sends.lastSequence))
        sends.takeOverSealed(inbox)
        #expect(sends.count == 0)
        #expect(sends.isPast(sends.lastSequence))
        let secondClaim = inbox.claim()
        let second = try #require(secondClaim)
        #expect(second.block !== first.block)
        sends.takeOverSealed(inbox)
        #expect(sends.count == 1)
        let isSecondLast = sends.settle(second.slot.block, failure: nil)
        #expect(isSecondLast)
        second.slot.block.release()
    }

    @Test func aClosedInboxRefusesEverythingAlsoWhereABlockIsOpen() throws {
        let inbox = SendInbox(ReportDemand())
        var sends = SendsInFlight()
        let newClaim = inbox.claim()
        let claim = try #require(newClaim)
        inbox.close()
        let isClosed = inbox.isClosed
        let late = inbox.claim()
        let isPut = inbox.put(SendBlock(capacity: 1, ReportDemand()))
        #expect(isClosed && late == nil && !isPut)
        sends.takeOverSealed(inbox)
        #expect(sends.count == 1)
        let abandoned = sends.abandon()
        #expect(abandoned.count == 1 && abandoned[0] === claim.block)
        #expect(sends.summary.unknown == 1)
    }

    /// Its report may be read while a sender is still in the call with which it handed its message over.
    @Test func aSealedInboxKnowsWhenEverySenderHasReturned() {
        let inbox = SendInbox(ReportDemand())
        let claims = (0..<SendBlock.sharedCapacity + 3).compactMap { _ in inbox.claim() }
        let isPut = inbox.put(SendBlock(capacity: 100, ReportDemand()))
        #expect(isPut)
        inbox.close()
        _ = inbox.seal()
        for _ in claims {
            let haveReturned = inbox.haveAllReturned
            #expect(!haveReturned)
            inbox.noteReturn()
        }
        let haveSingleOnes = inbox.haveAllReturned
        #expect(!haveSingleOnes, "the batch has not")
        inbox.noteReturn()
        let haveAll = inbox.haveAllReturned
        #expect(haveAll)
        // The inbox lets go of its blocks only where they are taken over.
        var sends = SendsInFlight()
        sends.takeOver(inbox)
        _ = sends.abandon()
    }
}

/// When the producer's thread may leave reports to senders.
struct ReportDemandTests {
    @Test func theThreadRestsWhereSendersReadAndNobodyWaits() {
        let demand = ReportDemand()
        #expect(!demand.isForSenders, "somebody may wait, before the thread has begun")
        #expect(!demand.mayRest())
        #expect(demand.isForSenders)
        #expect(!demand.mayRest(), "nobody has read")
        demand.noteReading()
        #expect(demand.mayRest())
        #expect(!demand.mayRest(), "nobody has read since")
        demand.noteReading()
        demand.want()
        #expect(!demand.isForSenders)
        #expect(!demand.mayRest())
    }

    @Test func whoBeginsToWaitBeforeTheThreadRestsKeepsItAwake() {
        let demand = ReportDemand()
        _ = demand.mayRest()
        demand.noteReading()
        #expect(demand.mayRest())
        demand.want()
        demand.rest { Issue.record("somebody waits") }
        _ = demand.mayRest()
        var hasRested = false
        demand.rest { hasRested = true }
        #expect(hasRested)
    }
}
