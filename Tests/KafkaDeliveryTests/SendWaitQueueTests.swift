import Testing

@testable import KafkaDelivery

/// Which senders wait for space in a producer's buffer, and what becomes of them.
struct SendWaitQueueTests {
    private let message = KafkaMessage(topic: "t", value: "v")

    /// Runs `body` with a sender that wants to wait, and returns what it is told at last.
    private func waiter(
        _ id: UInt64,
        _ body: (SendWaitQueue.BufferSpaceWaiter) -> KafkaError?
    ) async -> KafkaError? {
        await withCheckedContinuation { continuation in
            let waiter = SendWaitQueue.BufferSpaceWaiter(
                id: id,
                message: message,
                block: SendBlock(capacity: 1),
                deadline: .now,
                continuation: continuation
            )
            continuation.resume(returning: body(waiter))
        }
    }

    @Test func whatIsRefusedWhileAWaiterIsTriedIsLookedAt() async {
        var queue = SendWaitQueue()
        let isAwaited = queue.refuse(SendBlock(capacity: 1))
        #expect(!isAwaited, "no task waits for that")
        _ = await waiter(1) { waiter in
            guard case .interrupt = queue.wait(waiter) else { return .closed() }
            let first = queue.nextForSpace(inFlight: 0)
            #expect(first?.id == 1)
            // It may have taken the only place for a moment, and the one that is tried waits on for it to go.
            let isAwaited = queue.refuse(SendBlock(capacity: 1))
            #expect(isAwaited)
            return nil
        }
    }

    @Test func whatAWaiterNeededSaysNothingToTheNextOne() async {
        var queue = SendWaitQueue()
        _ = await waiter(1) { waiter in
            _ = queue.wait(waiter)
            let early = queue.nextForSpace(inFlight: 4)
            #expect(early == nil, "a quarter has to leave first: then 3 are in flight")
            let cancelled = queue.cancelBufferSpaceWaiter(1)
            #expect(cancelled?.id == 1)
            return nil
        }
        _ = await waiter(2) { waiter in
            _ = queue.wait(waiter)
            let early = queue.nextForSpace(inFlight: 100_000)
            #expect(early == nil)
            let first = queue.nextForSpace(inFlight: 75_000)
            #expect(first?.id == 2)
            return nil
        }
    }

    @Test func whoComesToWaitWhileOthersAreRefusedIsRefusedToo() async {
        var queue = SendWaitQueue()
        let waiting = queue.takeSpaceWaiters(refusing: .transactionEnded)
        #expect(waiting.isEmpty)
        let error = await waiter(1) { waiter in
            guard case .refuse(let error) = queue.wait(waiter) else { return nil }
            return error
        }
        #expect(error == .transactionEnded)
        queue.admitSpaceWaiters()
        _ = await waiter(2) { waiter in
            guard case .interrupt = queue.wait(waiter) else {
                Issue.record("it may wait again")
                return nil
            }
            return nil
        }
    }

    @Test func whoIsTriedInVainIsToldWhyTheOthersWere() async {
        var queue = SendWaitQueue()
        _ = await waiter(1) { waiter in
            _ = queue.wait(waiter)
            _ = queue.nextForSpace(inFlight: 0)
            _ = queue.takeSpaceWaiters(refusing: .transactionEnded)
            guard case .refuse(let error) = queue.attemptFailed(waiter, isFull: true, inFlight: 1) else {
                Issue.record("it is refused")
                return nil
            }
            #expect(error == .transactionEnded)
            return nil
        }
    }
}
