import Testing

@testable import KafkaDelivery

/// Who waits for room in a producer's buffer, and what becomes of them.
struct SendLedgerTests {
    private let message = KafkaMessage(topic: "t", value: "v")

    /// Runs `body` with somebody who wants to wait, and returns what they are told at last.
    private func waiter(
        _ id: UInt64,
        _ body: (SendLedger.RoomWaiter) -> KafkaError?
    ) async -> KafkaError? {
        await withCheckedContinuation { continuation in
            let waiter = SendLedger.RoomWaiter(
                id: id,
                message: message,
                block: SendBlock(capacity: 1, ReportDemand()),
                deadline: .now,
                continuation: continuation
            )
            continuation.resume(returning: body(waiter))
        }
    }

    @Test func whatIsRefusedWhileSomebodyIsTriedIsLookedAt() async {
        var ledger = SendLedger()
        let isAwaited = ledger.refuse(SendBlock(capacity: 1, ReportDemand()))
        #expect(!isAwaited, "nobody waits for that")
        _ = await waiter(1) { waiter in
            guard case .interrupt = ledger.wait(waiter) else { return .closed() }
            let first = ledger.nextForRoom(inFlight: 0)
            #expect(first?.id == 1)
            // It may have taken the only place for a moment, and the one that is tried waits on for it to go.
            let isAwaited = ledger.refuse(SendBlock(capacity: 1, ReportDemand()))
            #expect(isAwaited)
            return nil
        }
    }

    @Test func whatAWaiterNeededSaysNothingToTheNextOne() async {
        var ledger = SendLedger()
        _ = await waiter(1) { waiter in
            _ = ledger.wait(waiter)
            let early = ledger.nextForRoom(inFlight: 4)
            #expect(early == nil, "a quarter has to leave first: then 3 are in flight")
            let cancelled = ledger.cancelRoomWaiter(1)
            #expect(cancelled?.id == 1)
            return nil
        }
        _ = await waiter(2) { waiter in
            _ = ledger.wait(waiter)
            let early = ledger.nextForRoom(inFlight: 100_000)
            #expect(early == nil)
            let first = ledger.nextForRoom(inFlight: 75_000)
            #expect(first?.id == 2)
            return nil
        }
    }

    @Test func whoComesToWaitWhileOthersAreRefusedIsRefusedToo() async {
        var ledger = SendLedger()
        let waiting = ledger.takeRoomWaiters(refusing: .transactionEnded)
        #expect(waiting.isEmpty)
        let error = await waiter(1) { waiter in
            guard case .refuse(let error) = ledger.wait(waiter) else { return nil }
            return error
        }
        #expect(error == .transactionEnded)
        ledger.admitRoomWaiters()
        _ = await waiter(2) { waiter in
            guard case .interrupt = ledger.wait(waiter) else {
                Issue.record("it may wait again")
                return nil
            }
            return nil
        }
    }

    @Test func whoIsTriedInVainIsToldWhyTheOthersWere() async {
        var ledger = SendLedger()
        _ = await waiter(1) { waiter in
            _ = ledger.wait(waiter)
            _ = ledger.nextForRoom(inFlight: 0)
            _ = ledger.takeRoomWaiters(refusing: .transactionEnded)
            guard case .refuse(let error) = ledger.triedInVain(waiter, isFull: true, inFlight: 1) else {
                Issue.record("it is refused")
                return nil
            }
            #expect(error == .transactionEnded)
            return nil
        }
    }
}
