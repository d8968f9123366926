internal import CThreads
internal import DeliverySystem

/// A thread of the library's own, for calls that block: Swift's cooperative pool has as many threads as the machine
/// has cores, and a blocked one is missing everywhere else in the process.
package enum BlockingThread {
    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void

        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// The calling thread, as the system names it: never 0, and another thread may get the same name when this one has ended.
    /// Inlined, for what looks at it for each task that is resumed.
    @inlinable
    package static var current: UInt { delivery_current_thread() }

    /// Starts a detached thread that ends when `body` returns.
    ///
    /// - Parameter name: At most 15 bytes of it are shown by the system's tools.
    /// - Returns: False where the system has no thread to give (`EAGAIN`); `body` then never runs.
    package static func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        let argument = Unmanaged.passRetained(Body(name: String(name.prefix(15)), run: body))
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))

        #if canImport(Darwin)
            var thread: pthread_t?
            let status = pthread_create(&thread, &attributes, { BlockingThread.main($0) }, argument.toOpaque())
        #else
            var thread = pthread_t()
            let status = pthread_create(
                &thread,
                &attributes,
                { argument in argument.flatMap { BlockingThread.main($0) } },
                argument.toOpaque()
            )
        #endif
        if status != 0 {
            argument.release()
        }
        return status == 0
    }

    private static func main(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
        let body = Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
        delivery_name_thread(body.name)
        body.run()
        return nil
    }
}
