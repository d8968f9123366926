internal import DeliverySystem
internal import Synchronization

/// Wakes a thread that sleeps in `poll`: a pipe, in which a byte makes it return. The owner of its descriptors.
package final class WakePipe: Sendable {
    /// What the thread polls for reading.
    package let readEnd: Int32
    private let writeEnd: Int32
    /// Set from the first ring until the thread wakes, so that a burst of them is one write.
    private let isRung = Atomic(false)

    /// - Returns: Nil where the system has no descriptors left.
    package init?() {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { return nil }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        readEnd = ends[0]
        writeEnd = ends[1]
    }

    deinit {
        _ = close(readEnd)
        _ = close(writeEnd)
    }

    /// Wakes the thread, from any.
    package func ring() {
        guard !isRung.exchange(true, ordering: .acquiringAndReleasing) else { return }
        var byte: UInt8 = 0
        _ = write(writeEnd, &byte, 1)
    }

    /// The thread is awake, and looks at everything after this.
    ///
    /// - Parameter isReadable: Whether `poll` found the pipe readable. Its byte may come after the thread woke for something else and
    ///   cleared the mark: not read then, it would end every further sleep at once.
    package func clear(isReadable: Bool) {
        guard isReadable || isRung.load(ordering: .acquiring) else { return }
        var bytes: (UInt64, UInt64) = (0, 0)
        _ = withUnsafeMutableBytes(of: &bytes) { read(readEnd, $0.baseAddress, $0.count) }
        _ = isRung.exchange(false, ordering: .acquiringAndReleasing)
    }
}
