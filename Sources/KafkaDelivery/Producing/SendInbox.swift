internal import Synchronization

/// Sends on their way to the producer's thread: anybody puts one in, without a lock, and the thread takes all of them out.
///
/// A stack that is linked through the sends themselves, and whose head is one atomic word: the address of the last send
/// that was put in, and in its lowest bit whether the inbox is closed. So a send is either refused, or it was put in before
/// the inbox was closed, and whoever takes out afterwards finds it.
struct SendInbox: ~Copyable, Sendable {
    typealias PendingDelivery = KafkaProducer.PendingDelivery

    private static let closedBit: UInt = 1
    private let head = Atomic<UInt>(0)

    /// Puts a send in, which is kept alive until it is taken out and released.
    ///
    /// - Returns: Whether the inbox was open.
    func put(_ pending: PendingDelivery) -> Bool {
        let reference = Unmanaged.passRetained(pending)
        let address = UInt(bitPattern: reference.toOpaque())
        var current = head.load(ordering: .relaxed)
        while current & Self.closedBit == 0 {
            pending.previous = Self.reference(current)
            // What was written to the send has to be seen by the thread: releasing.
            let (isPut, now) = head.weakCompareExchange(
                expected: current,
                desired: address,
                successOrdering: .releasing,
                failureOrdering: .relaxed
            )
            if isPut { return true }
            current = now
        }
        pending.previous = nil
        reference.release()
        return false
    }

    /// Refuses every further send.
    func close() {
        head.bitwiseOr(Self.closedBit, ordering: .acquiringAndReleasing)
    }

    /// Whether every further send is refused, a moment ago.
    var isClosed: Bool {
        head.load(ordering: .relaxed) & Self.closedBit != 0
    }

    /// Takes all sends out.
    ///
    /// - Returns: The one that was put in last, linked to those before it by `previous`. The references are the caller's.
    func takeAll() -> Unmanaged<PendingDelivery>? {
        // Looking costs less than writing where there is nothing.
        guard head.load(ordering: .relaxed) & ~Self.closedBit != 0 else { return nil }
        return Self.reference(head.bitwiseAnd(Self.closedBit, ordering: .acquiring).oldValue)
    }

    private static func reference(_ word: UInt) -> Unmanaged<PendingDelivery>? {
        UnsafeRawPointer(bitPattern: word & ~closedBit).map { Unmanaged.fromOpaque($0) }
    }
}
