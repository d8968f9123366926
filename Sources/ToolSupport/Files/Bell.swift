internal import Foundation

/// Wakes threads that wait for a file descriptor, once and for all.
package final class Bell: Sendable {
    /// Readable once the bell has rung.
    package let descriptor: Int32
    private let other: Int32

    package init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw .last }
        (self.descriptor, self.other) = (ends[0], ends[1])
    }

    deinit {
        close(descriptor)
        close(other)
    }

    package func ring() {
        // A pipe has room for this byte; ringing twice changes nothing.
        _ = [UInt8(1)].withUnsafeBytes { systemWrite(other, $0.baseAddress, $0.count) }
    }
}
