internal import Synchronization

/// A message that no consumer has received, and the verdict on it: for tests of handlers, without a cluster. See
/// `RecordedDelivery` of KafkaDeliveryTesting.
@usableFromInline
package final class MadeDelivery: @unchecked Sendable {
    // Sendable because nothing but the verdict changes, which has a lock. `key` and `value` point at copies of its own, which are
    // written before any other task has the object and freed with its last reference.

    /// What a handler said.
    package enum Verdict: Sendable {
        case acknowledged
        case rejected((any Error)?, after: Duration)
    }

    let message: KafkaMessage
    let partition: KafkaTopicPartition
    let offset: Int64
    let generation: Int
    let attempt: Int
    /// Whether a broker has set the timestamp; nil where there is none.
    let isAppendTime: Bool?
    let crashes: Int?
    // Lent by `withKey` and `withValue`, as those of a received message are.
    @usableFromInline let key: UnsafeRawBufferPointer?
    @usableFromInline let value: UnsafeRawBufferPointer?
    private let given = Mutex<Verdict?>(nil)

    package init(
        _ message: KafkaMessage,
        offset: Int64,
        generation: Int,
        attempt: Int,
        isAppendTime: Bool?,
        crashes: Int?
    ) {
        self.message = message
        self.partition = KafkaTopicPartition(topic: message.topic, partition: message.partition ?? 0)
        self.offset = offset
        self.generation = generation
        self.attempt = attempt
        self.isAppendTime = isAppendTime
        self.crashes = crashes
        self.key = message.key.map { Self.copy($0) }
        self.value = message.value.map { Self.copy($0) }
    }

    deinit {
        key?.deallocate()
        value?.deallocate()
    }

    private static func copy(_ bytes: KafkaBytes) -> UnsafeRawBufferPointer {
        let array = bytes.array
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: array.count, alignment: 1)
        copy.copyBytes(from: array)
        return UnsafeRawBufferPointer(copy)
    }

    /// The first verdict, which counts; nil while there is none.
    package var verdict: Verdict? { given.withLock { $0 } }

    /// Notes a verdict.
    ///
    /// - Returns: Whether it is the first.
    @discardableResult
    func give(_ verdict: Verdict) -> Bool {
        given.withLock { given in
            guard given == nil else { return false }
            given = verdict
            return true
        }
    }
}
