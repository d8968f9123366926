internal import ServiceLifecycle
internal import Synchronization

/// Whether the service in which a loop runs is being shut down: then the loop ends, also one that never has to wait.
///
/// ServiceLifecycle tells a service's tasks and no others, and only while they run something made for being told. So there
/// is a task for each loop, which waits for that; the loop looks at a flag.
final class ShutdownWatch: Sendable {
    /// What the loop looks at. It does not keep the task that waits, which ends with the watch.
    final class Flag: Sendable {
        private let flag: Atomic<Bool>

        fileprivate init(_ isSet: Bool) {
            flag = Atomic(isSet)
        }

        var isSet: Bool { flag.load(ordering: .relaxed) }

        fileprivate func set() {
            flag.store(true, ordering: .relaxed)
        }
    }

    let flag: Flag
    private let waiting: Task<Void, Never>?

    /// Begins to watch. To be called in the task of the loop.
    ///
    /// - Parameter end: Called with the flag once it is set, to end the loop's waits.
    init(_ end: @escaping @Sendable (Flag) -> Void) {
        let flag = Flag(Task.isShuttingDownGracefully)
        self.flag = flag
        waiting =
            flag.isSet
            ? nil
            : Task {
                guard (try? await gracefulShutdown()) != nil else { return }
                flag.set()
                end(flag)
            }
    }

    deinit {
        waiting?.cancel()
    }

    var isShuttingDown: Bool { flag.isSet }
}
