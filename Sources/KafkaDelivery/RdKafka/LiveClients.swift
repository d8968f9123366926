internal import Synchronization

/// How many clients of this process have threads of librdkafka's that may still be running: those that are in use, those that
/// are being destroyed, and those of which nothing says when their threads have ended.
package enum LiveClients {
    // Clients are made and destroyed on any thread.
    private static let count = Atomic(0)

    /// Whether there is none. Then nothing runs that `exit` could take something away from: it has OpenSSL take itself apart,
    /// and a thread in the middle of a handshake then ends the process with a signal.
    package static var isEmpty: Bool { count.load(ordering: .acquiring) == 0 }

    static func add() {
        count.wrappingAdd(1, ordering: .relaxed)
    }

    static func remove() {
        count.wrappingSubtract(1, ordering: .releasing)
    }
}
