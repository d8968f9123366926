import Testing

@testable import KafkaDelivery

/// Where a message's outcome is put and awaited, in either order.
@Suite(.timeLimit(.minutes(5)))
struct DeliveryPromiseTests {
    private let metadata = RecordMetadata(offset: 7, millisecondsSince1970: -1, partition: 2)
    private let failure = KafkaError(.timedOut, persistence: .possiblyPersisted, recovery: .retry, reason: "too late")

    private func pending() -> KafkaProducer.PendingDelivery {
        let block = SendBlock(capacity: 3)
        return KafkaProducer.PendingDelivery(block, block.promise(1), topic: "t")
    }

    @Test func anOutcomeThatIsThereIsReadWithoutWaiting() async throws {
        let stored = pending()
        stored.promise.resolve(metadata)
        let report = try await stored.report
        #expect((report.topic, report.partition, report.offset) == ("t", 2, 7))
        #expect(try await stored.onlyReport() == report)
        let failed = pending()
        failed.promise.resolve(failure)
        await #expect(throws: failure) { try await failed.report }
        await #expect(throws: failure) { try await failed.onlyReport() }
    }

    @Test func theFirstOutcomeCounts() async throws {
        let stored = pending()
        stored.promise.resolve(metadata)
        stored.promise.resolve(failure)
        #expect(try await stored.report.offset == 7)
        let failed = pending()
        failed.promise.resolve(failure)
        failed.promise.resolve(.closed())
        await #expect(throws: failure) { try await failed.report }
        let discarded = pending()
        #expect(discarded.promise.discard())
        #expect(!discarded.promise.discard())
        #expect(!failed.promise.discard(), "the application may know its outcome")
    }

    @Test func promisesThatAreGivenUpGetTheSameOutcomeAndTheOthersKeepTheirs() async throws {
        let block = SendBlock(capacity: 3)
        block.promise(1).resolve(metadata)
        block.failRest(failure)
        #expect(block.promise(0).result("t") == .failure(failure))
        #expect(try block.promise(1).result("t")?.get().offset == 7)
        #expect(block.promise(2).result("t") == .failure(failure))
    }

    @Test func everyoneWhoAwaitsTheSameIsToldAndWhoIsCancelledAtOnce() async throws {
        let pending = pending()
        let waiting = (0..<5).map { _ in Task { try await pending.report.offset } }
        let given = Task { try await pending.report.offset }
        given.cancel()
        await #expect(throws: KafkaError.cancelled(persistence: .possiblyPersisted)) { try await given.value }
        pending.promise.resolve(metadata)
        for task in waiting { #expect(try await task.value == 7) }
    }

    @Test func aTaskThatIsCancelledAlreadyDoesNotWait() async throws {
        let pending = pending()
        await #expect(throws: KafkaError.cancelled(persistence: .possiblyPersisted)) {
            try await Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await pending.onlyReport()
            }.value
        }
        // Its message is still under way.
        pending.promise.resolve(metadata)
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
                group.addTask { pending.promise.resolve(metadata) }
                group.addTask { waiting.cancel() }
            }
            switch await waiting.result {
            case .success(let report): #expect(report.offset == 7, "round \(round)")
            case .failure(let error as KafkaError): #expect(error.kind == .cancelled, "round \(round)")
            case .failure(let error): throw error
            }
            #expect(try await pending.report.offset == 7, "the outcome is there for a task that asks later")
        }
    }
}

/// Sends on their way to the producer's thread, and what counts as in flight.
struct SendPathTests {
    @Test func singleSendsShareABlock() throws {
        let path = SendPath()
        var sends = SendPath.InFlight()
        let claims = (0..<SendBlock.sharedCapacity + 1).compactMap { _ in path.takeSlot() }
        #expect(Set(claims.map { ObjectIdentifier($0.block) }).count == 2)
        #expect(Set(claims.map(\.promise.opaque)).count == claims.count)
        sends.takeOverSealed(path)
        #expect(sends.count == SendBlock.sharedCapacity + 1)
        let lastOfFirst = claims[SendBlock.sharedCapacity - 1].promise.opaque
        for claim in claims {
            let isLast = sends.settle(claim.promise.block, failure: nil)
            #expect(isLast == (claim.promise.opaque == lastOfFirst || claim.block === claims.last?.block))
            if isLast { claim.promise.block.release() }
        }
        #expect(sends.count == 0)
        #expect(sends.isPast(sends.lastSequence))
    }

    @Test func aBlockThatIsSealedBeforeOrAfterItsReportsEndsWithTheLastOfThem() throws {
        let path = SendPath()
        var sends = SendPath.InFlight()
        let firstClaim = path.takeSlot()
        let first = try #require(firstClaim)
        sends.takeOver(path)
        let isFirstLast = sends.settle(first.promise.block, failure: nil)
        #expect(!isFirstLast, "more sends may join it")
        #expect(!sends.isPast(sends.lastSequence))
        sends.takeOverSealed(path)
        #expect(sends.count == 0)
        #expect(sends.isPast(sends.lastSequence))
        let secondClaim = path.takeSlot()
        let second = try #require(secondClaim)
        #expect(second.block !== first.block)
        sends.takeOverSealed(path)
        #expect(sends.count == 1)
        let isSecondLast = sends.settle(second.promise.block, failure: nil)
        #expect(isSecondLast)
        second.promise.block.release()
    }

    @Test func aClosedPathRefusesEverythingAlsoWhereABlockIsOpen() throws {
        let path = SendPath()
        var sends = SendPath.InFlight()
        let newClaim = path.takeSlot()
        let claim = try #require(newClaim)
        path.close()
        let isClosed = path.isClosed
        let late = path.takeSlot()
        let isPut = path.put(SendBlock(capacity: 1))
        #expect(isClosed && late == nil && !isPut)
        sends.takeOverSealed(path)
        #expect(sends.count == 1)
        let abandoned = sends.abandon()
        #expect(abandoned.count == 1 && abandoned[0] === claim.block)
        #expect(sends.summary.unknown == 1)
    }

    /// Its report may be read while a sender is still in the call with which it handed its message over.
    @Test func aSealedPathKnowsWhenEverySenderHasReturned() {
        let path = SendPath()
        let claims = (0..<SendBlock.sharedCapacity + 3).compactMap { _ in path.takeSlot() }
        let isPut = path.put(SendBlock(capacity: 100))
        #expect(isPut)
        path.close()
        _ = path.seal()
        for _ in claims {
            let haveReturned = path.haveAllReturned
            #expect(!haveReturned)
            path.noteReturn()
        }
        let haveSingleOnes = path.haveAllReturned
        #expect(!haveSingleOnes, "the batch has not")
        path.noteReturn()
        let haveAll = path.haveAllReturned
        #expect(haveAll)
        // The path lets go of its blocks only where they are taken over.
        var sends = SendPath.InFlight()
        sends.takeOver(path)
        _ = sends.abandon()
    }
}
