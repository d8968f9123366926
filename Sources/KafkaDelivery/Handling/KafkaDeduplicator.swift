internal import DequeModule
internal import Synchronization

/// Remembers which messages were handled, so that one that comes again is not handled again.
///
/// This is the answer where what handling does is not in Kafka, and so cannot be part of a transaction: delivery at least
/// once, and handling that notices a repetition.
///
/// ```swift
/// try await consumer.forEach(deduplicating: .inMemory(maximumCount: 100_000)) { delivery in … }
/// ```
///
/// A message is recognised by its ``KafkaMessage/idempotencyKey``, which its sender stamps
/// (``KafkaProducer/Configuration/stampsIdempotencyKey``), so that it is recognised when it was *sent* twice too; and
/// where it has none, by its topic, partition and offset together with its timestamp, its key and its value: in a topic that was
/// deleted and made anew, or whose log was cut, other messages have the same offsets.
public protocol KafkaDeduplicator: Sendable {
    /// Runs `body`, unless a body with the same key has succeeded before.
    ///
    /// The key is remembered only after `body` has succeeded, and where that is possible as one with what `body` does (in a
    /// database: in the same transaction of the database). Of two calls with the same key at a time one waits for the
    /// other.
    ///
    /// - Parameters:
    ///   - key: What tells a message from others.
    ///   - body: Handles the message.
    /// - Returns: Whether `body` was run.
    /// - Throws: What `body` throws: then the key is not remembered.
    func handleOnce(_ key: KafkaBytes, _ body: () async throws -> Void) async throws -> Bool
}

/// Remembers the keys of the last messages, in this process: a message that comes again after a restart, or in another
/// member of the group, is handled again.
public final class KafkaInMemoryDeduplicator: KafkaDeduplicator {
    private struct State {
        var known: Set<KafkaBytes> = []
        var order: Deque<KafkaBytes> = []
        /// Being handled, and who waits for the end of that.
        var running: [KafkaBytes: [(id: UInt64, continuation: CheckedContinuation<Void, Never>)]] = [:]
    }

    private enum Decision {
        case run
        case known
        case wait
    }

    private let maximumCount: Int
    // Handlers on any task meet here.
    private let state = Mutex(State())

    /// Remembers nothing yet.
    ///
    /// - Parameter maximumCount: How many keys to remember, 1 or more; then the oldest is forgotten. Less counts as 1. With
    ///   keys of 32 bytes one takes about 150 bytes.
    public init(maximumCount: Int) {
        self.maximumCount = max(maximumCount, 1)
    }

    /// Runs `body`, unless a body with the same key has succeeded before. See ``KafkaDeduplicator``.
    public func handleOnce(_ key: KafkaBytes, _ body: () async throws -> Void) async throws -> Bool {
        while true {
            let decision: Decision = state.withLock { state in
                if state.known.contains(key) { return .known }
                if state.running[key] != nil { return .wait }
                state.running[key] = []
                return .run
            }
            switch decision {
            case .known: return false
            case .wait: try await waitForEnd(of: key)
            case .run:
                do {
                    try await body()
                } catch {
                    end(key, isRemembered: false)
                    throw error
                }
                end(key, isRemembered: true)
                return true
            }
        }
    }

    private func end(_ key: KafkaBytes, isRemembered: Bool) {
        let waiters = state.withLock { state in
            if isRemembered {
                state.known.insert(key)
                state.order.append(key)
                if state.order.count > maximumCount { state.known.remove(state.order.removeFirst()) }
            }
            return state.running.removeValue(forKey: key) ?? []
        }
        for waiter in waiters { waiter.continuation.resume() }
    }

    private func waitForEnd(of key: KafkaBytes) async throws {
        await waitCancellably { id, continuation in
            let isOver = state.withLock { state in
                guard state.running[key] != nil else { return true }
                state.running[key]?.append((id, continuation))
                return false
            }
            if isOver { continuation.resume() }
        } onCancel: { id in
            cancelWait(id, of: key)
        }
        try Task.checkCancellation()
    }

    private func cancelWait(_ id: UInt64, of key: KafkaBytes) {
        let continuation = state.withLock { state in
            state.running[key]?.firstIndex { $0.id == id }.flatMap { state.running[key]?.remove(at: $0).continuation }
        }
        continuation?.resume()
    }
}

extension KafkaDeduplicator where Self == KafkaInMemoryDeduplicator {
    /// Remembers the keys of the last messages, in this process.
    ///
    /// - Parameter maximumCount: How many keys to remember, 1 or more.
    public static func inMemory(maximumCount: Int) -> KafkaInMemoryDeduplicator {
        KafkaInMemoryDeduplicator(maximumCount: maximumCount)
    }
}

extension KafkaMessage {
    /// The name of the header that carries ``idempotencyKey``.
    public static let idempotencyKeyHeader = "idempotency-key"

    /// What tells this message from every other, however often it is sent; nil where it has none. A header
    /// (``idempotencyKeyHeader``); setting it replaces the one there is.
    public var idempotencyKey: KafkaBytes? {
        get { headers[Self.idempotencyKeyHeader] }
        set {
            headers.removeAll { $0.name == Self.idempotencyKeyHeader }
            if let newValue { headers.append(KafkaHeader(Self.idempotencyKeyHeader, newValue)) }
        }
    }

    /// The message with a random ``idempotencyKey``, 128 bits in hexadecimal, where it has none.
    public func stampedWithIdempotencyKey() -> KafkaMessage {
        guard idempotencyKey == nil else { return self }
        var message = self
        let halves = (0..<2).map { _ in
            let digits = String(UInt64.random(in: 0 ... .max), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        message.idempotencyKey = KafkaBytes(halves.joined().utf8)
        return message
    }
}

extension KafkaConsumer.Delivery {
    /// The key its sender stamped, see ``KafkaMessage/idempotencyKey``.
    public var idempotencyKey: KafkaBytes? { headers[KafkaMessage.idempotencyKeyHeader] }

    /// What a ``KafkaDeduplicator`` knows the message by.
    var deduplicationKey: KafkaBytes {
        if let idempotencyKey { return idempotencyKey }
        // An offset is an identity within one life of a log. The rest tells the lives apart, and is the same whenever and
        // wherever the message is delivered.
        var checksum = Checksum()
        withKey { checksum.add($0) }
        withValue { checksum.add($0) }
        let time = timestamp.map { "\($0.millisecondsSince1970)" } ?? ""
        return KafkaBytes("\(topic)/\(partition)/\(offset)@\(time)-\(String(checksum.value, radix: 16))".utf8)
    }
}

extension KafkaDeduplicator {
    /// Runs `body` with those deliveries that were not handled before, unless that leaves none.
    func handleOnce(
        _ batch: [KafkaConsumer.Delivery],
        _ body: ([KafkaConsumer.Delivery]) async throws -> Void
    ) async throws {
        // Of two in a batch with the same key the first counts. In the order of their keys, so that no two batches wait for each
        // other.
        var first: [KafkaBytes: Int] = [:]
        for (index, delivery) in batch.enumerated() where first[delivery.deduplicationKey] == nil {
            first[delivery.deduplicationKey] = index
        }
        let keys = first.sorted { $0.key.array.lexicographicallyPrecedes($1.key.array) }
        try await handleOnce(keys[...], []) { indices in
            let fresh = indices.sorted().map { batch[$0] }
            if !fresh.isEmpty { try await body(fresh) }
        }
    }

    private func handleOnce(
        _ keys: ArraySlice<(key: KafkaBytes, value: Int)>,
        _ fresh: [Int],
        _ body: ([Int]) async throws -> Void
    ) async throws {
        guard let (key, index) = keys.first else { return try await body(fresh) }
        let isFresh = try await handleOnce(key) { try await handleOnce(keys.dropFirst(), fresh + [index], body) }
        if !isFresh { try await handleOnce(keys.dropFirst(), fresh, body) }
    }
}

/// FNV-1a of 64 bits: the same in every process, which `Hasher` is not.
private struct Checksum {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ bytes: RawSpan?) {
        guard let bytes else { return add(0) }
        add(1)
        for index in 0..<bytes.byteCount { add(bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self)) }
    }

    private mutating func add(_ byte: UInt8) {
        value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
    }
}
