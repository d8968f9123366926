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
