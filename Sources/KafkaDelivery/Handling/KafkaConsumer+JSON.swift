// Beside KafkaFoundation.swift the only file that needs Foundation.

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

extension KafkaConsumer {
    /// Handles every delivery's value, decoded from JSON. What cannot be decoded is not worth retrying: it goes to the
    /// dead letters at once, with its bytes unchanged.
    ///
    /// A tombstone is given to the handler as nil where `type` is an optional one (`Order?.self`); where it is not, it cannot be
    /// decoded.
    ///
    /// - Parameters:
    ///   - type: What values are.
    ///   - decoder: How to decode. The default is `JSONDecoder`'s own, which takes dates as seconds since 2001 and refuses ISO
    ///     8601: give one with a `dateDecodingStrategy` for that. Used by several tasks at a time.
    ///   - concurrency: How many at a time.
    ///   - retry: What to do about errors.
    ///   - retryTopics: Where messages wait for further attempts that the policy has given up.
    ///   - deadLetters: Where messages go that are given up.
    ///   - deduplicator: Remembers what was handled.
    ///   - handler: Handles one value.
    /// - Throws: As ``forEach(concurrency:retry:retryTopics:deadLetters:deduplicating:_:)``.
    public func forEach<Value: Decodable & SendableMetatype>(
        as type: Value.Type,
        decoder: JSONDecoder = JSONDecoder(),
        concurrency: Concurrency = .perPartition,
        retry: KafkaRetryPolicy = .exponential(maximumAttempts: nil),
        retryTopics: KafkaRetryTopics? = nil,
        deadLetters: KafkaDeadLetters? = nil,
        deduplicating deduplicator: (any KafkaDeduplicator)? = nil,
        _ handler: @escaping @Sendable (Value, Delivery) async throws -> Void
    ) async throws {
        try await forEach(
            as: type,
            decodedBy: { try $0.decoded(as: type, decoder: decoder) },
            concurrency: concurrency,
            retry: retry,
            retryTopics: retryTopics,
            deadLetters: deadLetters,
            deduplicating: deduplicator,
            handler
        )
    }
}

extension KafkaConsumer.Delivery {
    /// The value, decoded from JSON. A tombstone is nil where `type` is an optional one.
    ///
    /// - Parameters:
    ///   - type: What the value is.
    ///   - decoder: How to decode. The default takes dates as seconds since 2001, as `JSONDecoder` does.
    /// - Throws: ``KafkaDecodingError``, which no retry policy finds worth another attempt.
    public func decoded<Value: Decodable>(
        as type: Value.Type,
        decoder: JSONDecoder = JSONDecoder()
    ) throws(KafkaDecodingError) -> Value {
        try decoded(as: type) { try $0.decoded(as: type, decoder: decoder) }
    }
}
