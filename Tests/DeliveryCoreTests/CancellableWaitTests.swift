import Foundation
import Synchronization
import Testing

@testable import DeliveryCore

/// A waiter that is cancelled and resumed at the same time is resumed once.
struct CancellableWaitTests {
    /// Waiters by number, as every part that waits keeps them.
    private final class Waiters: Sendable {
        private let waiting = Mutex<[UInt64: CheckedContinuation<String, Never>]>([:])
        let cancellations = Atomic(0)

        func add(_ id: UInt64, _ continuation: CheckedContinuation<String, Never>) {
            waiting.withLock { $0[id] = continuation }
        }

        func resume(_ id: UInt64, _ value: String) {
            waiting.withLock { $0.removeValue(forKey: id) }?.resume(returning: value)
        }

        func resumeAll(_ value: String) {
            let all = waiting.withLock { waiting in
                defer { waiting = [:] }
                return waiting
            }
            for continuation in all.values { continuation.resume(returning: value) }
        }

        var count: Int { waiting.withLock { $0.count } }

        func wait() async -> String {
            await waitCancellably { id, continuation in
                add(id, continuation)
            } onCancel: { id in
                cancellations.wrappingAdd(1, ordering: .relaxed)
                resume(id, "cancelled")
            }
        }
    }

    @Test func aTaskThatIsCancelledBeforeItWaitsDoesNotWait() async {
        let waiters = Waiters()
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await waiters.wait()
        }
        #expect(await task.value == "cancelled")
        #expect(waiters.cancellations.load(ordering: .relaxed) == 2, "the handler ran too early, and once more")
        #expect(waiters.count == 0)
    }

    @Test func aTaskThatIsNotCancelledGetsWhatItWaitedFor() async {
        let waiters = Waiters()
        let value: String = await waitCancellably { id, continuation in
            waiters.add(id, continuation)
            waiters.resume(id, "value")
        } onCancel: { id in
            waiters.resume(id, "cancelled")
        }
        #expect(value == "value")
        #expect(waiters.cancellations.load(ordering: .relaxed) == 0)
    }

    /// A continuation that were resumed twice would end the process; one that were not would hold the test up.
    @Test(.timeLimit(.minutes(5))) func cancellingAndResumingAtTheSameTimeResumesOnce() async {
        var seen: Set<String> = []
        for round in 0..<2_000 {
            let waiters = Waiters()
            let task = Task { await waiters.wait() }
            while waiters.count == 0 { await Task.yield() }
            await withDiscardingTaskGroup { group in
                // The one that is started first is ahead: they take turns.
                let resumes = round.isMultiple(of: 2)
                for isResuming in [resumes, !resumes] {
                    group.addTask {
                        if isResuming { waiters.resumeAll("value") } else { task.cancel() }
                    }
                }
            }
            seen.insert(await task.value)
            #expect(waiters.count == 0)
        }
        #expect(seen == ["value", "cancelled"], "each came first at times")
    }

    @Test func aTimedWaitGivesTheFirstValue() async {
        let wait = TimedWait<Int>()
        wait.resume(1)
        wait.resume(2)
        #expect(await wait.value(until: .now.advanced(by: .seconds(3_600))) == 1)
    }

    @Test func aTimedWaitEndsWhenItsTimeIsUp() async {
        #expect(await TimedWait<Int>().value(until: .now.advanced(by: .milliseconds(1))) == nil)
    }

    @Test func aTimedWaitOfACancelledTaskEndsOnlyWhereItMay() async {
        let wait = TimedWait<Int>()
        let cancellable = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await TimedWait<Int>().value(until: .now.advanced(by: .seconds(3_600)), isCancellable: true)
        }
        #expect(await cancellable.value == nil)
        let patient = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await wait.value(until: .now.advanced(by: .seconds(3_600))) { wait.resume(7) }
        }
        #expect(await patient.value == 7)
    }

    /// What calls on a queue's thread count.
    private final class Calls: Sendable {
        let asked = Atomic(0)
        let running = Atomic(0)
        let most = Atomic(0)
        let made = Atomic(0)

        func make() {
            let now = running.wrappingAdd(1, ordering: .relaxed).newValue
            most.max(now, ordering: .relaxed)
            // The first lasts until all others are asked for: another thread would make one of them meanwhile.
            while asked.load(ordering: .relaxed) < 100 { usleep(100) }
            // And each a while, in which another thread would begin the next one.
            for _ in 0..<20 { sched_yield() }
            made.wrappingAdd(1, ordering: .relaxed)
            running.wrappingSubtract(1, ordering: .relaxed)
        }
    }

    private enum Answer {
        case made
        case cancelled
        case noThread
    }

    @Test(.timeLimit(.minutes(5)))
    func aBlockingQueueMakesOneCallAtATimeAndACancelledTasksCallToo() async {
        let queue = BlockingQueue("test")
        let calls = Calls()
        @Sendable func call() async -> Answer {
            calls.asked.wrappingAdd(1, ordering: .relaxed)
            return await queue.run(otherwise: { $0 == .cancelled ? .cancelled : .noThread }) {
                calls.make()
                return .made
            }
        }
        await withDiscardingTaskGroup { group in
            for _ in 0..<100 { group.addTask { #expect(await call() == .made) } }
        }
        let cancelled = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await call()
        }
        #expect(await cancelled.value != .noThread)
        // What comes later is made later.
        #expect(await call() == .made)
        #expect(calls.made.load(ordering: .relaxed) == 102)
        #expect(calls.most.load(ordering: .relaxed) == 1)
    }
}
