internal import Dispatch
internal import Foundation
internal import Synchronization

/// A file that is written on a queue of its own, because a write may wait as long as its reader likes, and that says
/// when what was given to it is written.
///
/// Writing begins at once; what arrives meanwhile goes out together with the next write. So nothing waits for a buffer
/// to fill, and under load there is one system call for many messages.
package final class Output: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        /// Called when `bytes` are written.
        var actions: [@Sendable () -> Void] = []
        var isWriting = false
        var failure: SystemError?
        var waiters: [CheckedContinuation<Void, Never>] = []
        var whenFailed: (@Sendable () -> Void)?

        mutating func takeWaiters() -> [CheckedContinuation<Void, Never>] {
            defer { waiters = [] }
            return waiters
        }
    }

    private let descriptor: Int32
    private let capacity: Int
    private let queue = DispatchQueue(label: "tool.output")
    // Tasks add to it while the queue's thread takes away.
    private let state = Mutex(State())

    /// - Parameters:
    ///   - descriptor: Where to write; stays open.
    ///   - capacity: How many bytes may wait to be written before ``write(_:whenWritten:)`` waits.
    package init(_ descriptor: Int32, capacity: Int = 1 << 20) {
        self.descriptor = descriptor
        self.capacity = capacity
    }

    /// Adds bytes to be written. Waits only where too many are waiting already.
    ///
    /// - Parameter whenWritten: Called once the system has taken them, on another thread; never where it does not.
    /// - Throws: ``SystemError``: why writing failed, now or before.
    package func write(_ bytes: some Sequence<UInt8>, whenWritten: (@Sendable () -> Void)? = nil)
        async throws(SystemError)
    {
        while true {
            let (isTaken, mustStart) = try state.withLock { state throws(SystemError) in
                if let failure = state.failure { throw failure }
                guard state.bytes.count < capacity else { return (false, false) }
                state.bytes.append(contentsOf: bytes)
                if let whenWritten { state.actions.append(whenWritten) }
                defer { state.isWriting = true }
                return (true, !state.isWriting)
            }
            if mustStart { queue.async { self.writeAll() } }
            if isTaken { return }
            await wait { $0.failure == nil && $0.bytes.count >= self.capacity }
        }
    }

    /// Waits until everything added so far is written.
    ///
    /// - Throws: ``SystemError``: why it is not.
    package func flush() async throws(SystemError) {
        while true {
            let isWriting = try state.withLock { state throws(SystemError) in
                if let failure = state.failure { throw failure }
                return state.isWriting
            }
            guard isWriting else { return }
            await wait { $0.failure == nil && $0.isWriting }
        }
    }

    /// Lets waiting tasks go with ``SystemError/stopped``, and writes nothing more. A write that hangs is left alone.
    package func stop() {
        fail(.stopped)
    }

    /// Calls `action` when no reader is left for what is written, which a write finds out only when there is something
    /// to write. Waits on a thread of its own, for as long as the process lives.
    package func whenReaderGoes(_ action: @escaping @Sendable () -> Void) {
        let descriptor = descriptor
        Thread.detachNewThread {
            // No events are asked for: the ends of pipes and terminals are told without.
            var poll = pollfd(fd: descriptor, events: 0, revents: 0)
            while systemPoll(&poll, 1) < 0, SystemError.last.code == EINTR {}
            if poll.revents & Int16(POLLERR | POLLHUP) != 0 { action() }
        }
    }

    /// Calls `action` once, when writing has failed: a command that waits for something else would not notice before its next write.
    /// ``stop()`` is no failure.
    package func whenFailed(_ action: @escaping @Sendable () -> Void) {
        let hasFailed = state.withLock { state in
            if let failure = state.failure { return failure != .stopped }
            state.whenFailed = action
            return false
        }
        if hasFailed { action() }
    }

    private func fail(_ error: SystemError) {
        let (waiters, whenFailed) = state.withLock { state in
            if state.failure == nil { state.failure = error }
            state.actions = []
            state.bytes = []
            defer { state.whenFailed = nil }
            return (state.takeWaiters(), state.whenFailed)
        }
        for waiter in waiters { waiter.resume() }
        if error != .stopped { whenFailed?() }
    }

    /// Waits for the next change, where `mustWait` still holds.
    private func wait(_ mustWait: (borrowing State) -> Bool) async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                let mustWait = mustWait(state)
                if mustWait { state.waiters.append(continuation) }
                return !mustWait
            }
            if isOver { continuation.resume() }
        }
    }

    /// Runs on the queue until there is nothing left.
    private func writeAll() {
        var bytes: [UInt8] = []
        while true {
            bytes.removeAll(keepingCapacity: true)
            let (actions, waiters) = state.withLock { state in
                swap(&bytes, &state.bytes)
                defer { state.actions = [] }
                if bytes.isEmpty { state.isWriting = false }
                return (state.actions, state.takeWaiters())
            }
            for waiter in waiters { waiter.resume() }
            if bytes.isEmpty, actions.isEmpty { return }
            if let error = Self.writeAll(bytes, to: descriptor) { return fail(error) }
            // Stopped meanwhile: what was written may be half of a message, so nothing is said of any.
            if state.withLock({ $0.failure != nil }) { return }
            for action in actions { action() }
        }
    }

    /// Writes, for as long as it takes.
    ///
    /// - Returns: Why not everything is written.
    package static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> SystemError? {
        bytes.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = systemWrite(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                if count >= 0 {
                    rest = rest.dropFirst(count)
                    continue
                }
                let error = SystemError.last
                switch error.code {
                case EINTR: continue
                case EAGAIN:
                    // Another process set the terminal or pipe to non-blocking.
                    var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    _ = systemPoll(&poll, 1)
                default: return error
                }
            }
            return nil
        }
    }
}
