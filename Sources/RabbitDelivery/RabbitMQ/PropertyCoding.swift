internal import CRabbitMQ

extension RabbitProperties {
    private static let basicClass: UInt16 = 60

    private enum Flag {
        static let contentType: UInt32 = 1 << 15
        static let contentEncoding: UInt32 = 1 << 14
        static let headers: UInt32 = 1 << 13
        static let deliveryMode: UInt32 = 1 << 12
        static let priority: UInt32 = 1 << 11
        static let correlationID: UInt32 = 1 << 10
        static let replyTo: UInt32 = 1 << 9
        static let expiration: UInt32 = 1 << 8
        static let messageID: UInt32 = 1 << 7
        static let timestamp: UInt32 = 1 << 6
        static let type: UInt32 = 1 << 5
        static let userID: UInt32 = 1 << 4
        static let appID: UInt32 = 1 << 3
        static let clusterID: UInt32 = 1 << 2
    }

    /// Encodes them with librabbitmq (`amqp_encode_properties`).
    ///
    /// - Parameter sequence: What correlates a message that comes back, as one more header; nil for none.
    /// - Returns: How many bytes they took; nil where they do not fit.
    func encode(
        sequence: UInt64?,
        into target: UnsafeMutableRawBufferPointer,
        pool: borrowing AMQPPool
    ) -> Int? {
        var raw = amqp_basic_properties_t()
        func put(_ string: String?, _ flag: UInt32, _ field: WritableKeyPath<amqp_basic_properties_t, amqp_bytes_t>) {
            guard let string else { return }
            raw._flags |= flag
            raw[keyPath: field] = pool.bytes(string)
        }
        raw._flags = Flag.deliveryMode
        raw.delivery_mode = isPersistent ? 2 : 1
        if contentType != nil { put(contentType, Flag.contentType, \.content_type) }
        if contentEncoding != nil { put(contentEncoding, Flag.contentEncoding, \.content_encoding) }
        if correlationID != nil { put(correlationID, Flag.correlationID, \.correlation_id) }
        if replyTo != nil { put(replyTo, Flag.replyTo, \.reply_to) }
        if expiration != nil { put(expirationText, Flag.expiration, \.expiration) }
        if messageID != nil { put(messageID, Flag.messageID, \.message_id) }
        if type != nil { put(type, Flag.type, \.type) }
        if userID != nil { put(userID, Flag.userID, \.user_id) }
        if appID != nil { put(appID, Flag.appID, \.app_id) }
        if clusterID != nil { put(clusterID, Flag.clusterID, \.cluster_id) }
        if let priority {
            raw._flags |= Flag.priority
            raw.priority = priority
        }
        if let timestamp {
            raw._flags |= Flag.timestamp
            raw.timestamp = timestamp.secondsSince1970
        }
        if let sequence {
            raw._flags |= Flag.headers
            raw.headers = pool.table(headers, Self.sequenceHeader, Int64(bitPattern: sequence))
        } else if !headers.isEmpty {
            raw._flags |= Flag.headers
            raw.headers = pool.table(headers)
        }
        let count = amqp_encode_properties(
            Self.basicClass,
            &raw,
            amqp_bytes_t(len: target.count, bytes: target.baseAddress)
        )
        return count < 0 ? nil : Int(count)
    }

    /// Whether librabbitmq can decode them, and safely so.
    static func canDecode(_ encoded: UnsafeRawBufferPointer, pool: borrowing AMQPPool) -> Bool {
        withDecoded(encoded, pool: pool) { _ in true } ?? false
    }

    /// What was received. To be called with what ``canDecode(_:pool:)`` accepts; anything else reads as no properties.
    init(decoding encoded: UnsafeRawBufferPointer, pool: borrowing AMQPPool) {
        self = Self.withDecoded(encoded, pool: pool) { RabbitProperties($0) } ?? RabbitProperties(isPersistent: false)
    }

    /// The sequence number in a message that came back.
    static func sequence(in encoded: UnsafeRawBufferPointer, pool: borrowing AMQPPool) -> UInt64? {
        withDecoded(encoded, pool: pool) { raw in
            guard raw._flags & Flag.headers != 0 else { return nil }
            return RabbitTable(raw.headers)[sequenceHeader]?.integer.map { UInt64(bitPattern: $0) }
        } ?? nil
    }

    private static func withDecoded<Value>(
        _ encoded: UnsafeRawBufferPointer,
        pool: borrowing AMQPPool,
        _ body: (amqp_basic_properties_t) -> Value
    ) -> Value? {
        // The lowest bit says that more flags follow, which the basic class does not have, and librabbitmq reads on by.
        guard encoded.count >= 2, encoded[1] & 1 == 0 else { return nil }
        if let offset = TableDepth.headersOffset(in: encoded), !TableDepth(encoded).accepts(tableAt: offset) {
            return nil
        }
        var decoded: UnsafeMutableRawPointer?
        let bytes = amqp_bytes_t(len: encoded.count, bytes: UnsafeMutableRawPointer(mutating: encoded.baseAddress))
        guard amqp_decode_properties(basicClass, pool.raw, bytes, &decoded) == 0, let decoded else { return nil }
        return body(decoded.load(as: amqp_basic_properties_t.self))
    }

    private init(_ raw: amqp_basic_properties_t) {
        self.init(isPersistent: raw._flags & Flag.deliveryMode != 0 && raw.delivery_mode == 2)
        func text(_ flag: UInt32, _ bytes: amqp_bytes_t) -> String? { raw._flags & flag == 0 ? nil : bytes.text }
        contentType = text(Flag.contentType, raw.content_type)
        contentEncoding = text(Flag.contentEncoding, raw.content_encoding)
        if raw._flags & Flag.headers != 0 {
            headers = RabbitTable(raw.headers)
            headers[Self.sequenceHeader] = nil
        }
        priority = raw._flags & Flag.priority == 0 ? nil : raw.priority
        correlationID = text(Flag.correlationID, raw.correlation_id)
        replyTo = text(Flag.replyTo, raw.reply_to)
        expiration = text(Flag.expiration, raw.expiration).flatMap { Self.expiration(fromText: $0) }
        messageID = text(Flag.messageID, raw.message_id)
        timestamp =
            raw._flags & Flag.timestamp == 0 ? nil : RabbitTimestamp(secondsSince1970: raw.timestamp)
        type = text(Flag.type, raw.type)
        userID = text(Flag.userID, raw.user_id)
        appID = text(Flag.appID, raw.app_id)
        clusterID = text(Flag.clusterID, raw.cluster_id)
    }
}
