import DeliveryCore
import Dispatch
import HTTPDelivery

/// Waits until a condition holds, which another task or thread brings about.
func waitUntil(_ condition: @Sendable () -> Bool) async {
    var pause = Duration.milliseconds(1)
    while !condition(), !Task.isCancelled {
        try? await Task.sleep(for: pause)
        pause = min(pause * 2, .milliseconds(50))
    }
}

/// Opened once; the threads of a server wait for it.
final class Door: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)

    func open() {
        semaphore.signal()
    }

    func wait() {
        semaphore.wait()
        // The next one waits for the same.
        semaphore.signal()
    }
}

extension Result {
    var failure: Failure? {
        if case .failure(let error) = self { error } else { nil }
    }
}

#if HTTP
    /// A destination with settings of a test's own.
    func makeDestination(_ change: (inout HTTPDestination.Configuration) -> Void = { _ in }) throws
        -> HTTPDestination
    {
        var configuration = HTTPDestination.Configuration()
        change(&configuration)
        return try HTTPDestination(configuration)
    }

    extension HTTPDestination {
        /// Why a message was not sent; nil where it was.
        func failure(_ message: HTTPMessage) async -> HTTPDeliveryError? {
            do throws(HTTPDeliveryError) {
                try await send(message)
                return nil
            } catch {
                return error
            }
        }
    }

#endif
