internal import Synchronization

/// Where librdkafka was sent elsewhere by the brokers, because the offset that it asked for is not in the partition: retention
/// deleted it, the log was cut, or the topic was deleted and made anew.
///
/// It says so in its log alone (`rd_kafka_offset_reset`, facility `OFFSET`, a warning), on its main thread and before it
/// asks for anything from the new offset. So a task that reads a message that was fetched after the reset finds it noted here.
final class OffsetResets: Sendable {
    /// Some resets of one partition.
    struct News {
        /// How many there were in all.
        let count: Int
        /// The highest offset that was asked for in one of them.
        let highest: Int64
    }

    /// How often one partition was reset. A partition's readers, of all generations, share it.
    final class Count: Sendable {
        // Written by librdkafka's main thread, read by whichever task reads the partition: a message that was fetched after a
        // reset has come through a queue with a lock of its own since, which orders the two.
        private let value = Atomic(0)
        // What was asked for, latest last. Nothing is called while it is held.
        private let offsets = Mutex<[Int64]>([])

        private static let maximumOffsets = 16

        var now: Int { value.load(ordering: .relaxed) }

        /// The resets after so many. Of very many only the latest are looked at.
        func news(since known: Int) -> News {
            offsets.withLock { offsets in
                let count = now
                return News(count: count, highest: offsets.suffix(max(count - known, 0)).max() ?? -1)
            }
        }

        fileprivate func note(_ offset: Int64) {
            offsets.withLock { offsets in
                if offsets.count == Self.maximumOffsets { offsets.removeFirst() }
                offsets.append(offset)
                value.wrappingAdd(1, ordering: .relaxed)
            }
        }
    }

    struct Reset: Equatable {
        let partition: KafkaTopicPartition
        /// What was asked for and is not there.
        let offset: Int64
    }

    private struct State {
        var counts: [KafkaTopicPartition: Count] = [:]
        /// Not told to the application yet.
        var untold: [Reset] = []

        mutating func count(of partition: KafkaTopicPartition) -> Count {
            if let count = counts[partition] { return count }
            let count = Count()
            counts[partition] = count
            return count
        }
    }

    static let facility = "OFFSET"

    /// More are counted, and not told one by one.
    private static let maximumUntold = 10_000

    // Lines come from librdkafka's main thread, which may hold locks of its own: nothing is called while it is held but a count.
    private let state = Mutex(State())

    func count(of partition: KafkaTopicPartition) -> Count {
        state.withLock { $0.count(of: partition) }
    }

    /// Takes a line of librdkafka's log.
    ///
    /// - Returns: Whether it tells of a reset.
    func note(_ text: String) -> Bool {
        guard let reset = Self.reset(in: text) else { return false }
        state.withLock { state in
            state.count(of: reset.partition).note(reset.offset)
            if state.untold.count < Self.maximumUntold { state.untold.append(reset) }
        }
        return true
    }

    /// What has not been told yet, in order.
    func take() -> [Reset] {
        state.withLock { state in
            defer { state.untold = [] }
            return state.untold
        }
    }

    /// Reads a line such as `[thrd:main]: orders [3]: offset reset (at offset 61, broker 1) to cached BEGINNING offset 0: …`; from
    /// 2.1.0 on it says `(at offset 61 (leader epoch 4), broker 1)`.
    static func reset(in text: String) -> Reset? {
        guard let marker = text.firstRange(of: "]: offset reset (at ") else { return nil }
        let name = text[..<marker.lowerBound].split(separator: " ")
        guard name.count >= 2, let bracketed = name.last, bracketed.first == "[",
            let number = Int(bracketed.dropFirst())
        else { return nil }
        let partition = KafkaTopicPartition(topic: String(name[name.count - 2]), partition: number)
        let rest = text[marker.upperBound...]
        let words = (rest.hasPrefix("offset ") ? rest.dropFirst("offset ".count) : rest)
        guard let offset = Int64(words.prefix { $0.isNumber || $0 == "-" }) else { return nil }
        return Reset(partition: partition, offset: offset)
    }
}
