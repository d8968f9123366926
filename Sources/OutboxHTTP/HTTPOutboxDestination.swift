#if HTTP
    public import HTTPDelivery
    public import OutboxDelivery

    #if canImport(FoundationEssentials)
        internal import FoundationEssentials
    #else
        internal import Foundation
    #endif

    /// An outbox's events as HTTP requests.
    ///
    /// ```swift
    /// let http = try HTTPDestination()
    /// let hooks = try HTTPOutboxDestination(http, url: HTTPURLTemplate("https://hooks.example.com{/topic*}"))
    /// // message: OutboxMessage(destination: "hooks", topic: "tasks/42", key: "42", payload: json)
    /// ```
    ///
    /// Events with the same key are sent one after the other, others at the same time. The event's idempotency key is the header
    /// `Idempotency-Key`, the same for each attempt; `Outbox-Id` is the row's number and `Outbox-Created-At` when it was written, in
    /// seconds since 1970.
    ///
    /// | answer | outcome |
    /// |---|---|
    /// | 2xx | accepted |
    /// | 429, 502, 503, 504; no connection | unavailable: again for as long as it takes, not before `Retry-After` |
    /// | 408, 425, other 5xx | rejected, retriable: counted, and parked after the last attempt |
    /// | 404, 410 | unroutable |
    /// | other 4xx, 3xx; an event that is no request | rejected: parked |
    /// | time-out or cut after the request was written | unknown: again, with the same key |
    public struct HTTPOutboxDestination: OutboxDestination {
        /// Statuses that say that the server as a whole is away or overloaded, and nothing about the event. With 401 and 403 among them,
        /// a token that has expired parks no event.
        public var unavailableStatuses: Set<Int> = [429, 502, 503, 504]

        /// How many requests of a batch at a time, 1 or more; all batches together have the destination's own maximum.
        public var maximumConcurrentRequests = 16

        private let http: HTTPDestination
        private let request: @Sendable (OutboxEvent) throws -> HTTPMessage

        /// Events as the requests that a closure makes of them.
        ///
        /// The message's idempotency key and its key for the order become the event's, whatever the closure says.
        ///
        /// - Parameters:
        ///   - http: What sends; closed by the code that made it, after the publisher.
        ///   - request: An event that it throws for is rejected and parked, with the error as the reason.
        public init(_ http: HTTPDestination, request: @escaping @Sendable (OutboxEvent) throws -> HTTPMessage) {
            self.http = http
            self.request = request
        }

        /// Events as requests to an address that is made of a template.
        ///
        /// The body is the payload, the headers are the event's own, the method is the attribute `method`, or `POST`.
        ///
        /// - Parameters:
        ///   - http: What sends; closed by the code that made it, after the publisher.
        ///   - url: Its names are `topic`, `key`, `idempotencyKey`, `header.NAME` and `attribute.NAME`; an event without one of
        ///     them, or where it is not text, is rejected.
        ///   - contentType: Where the event has no header `Content-Type`; nil for none.
        public init(_ http: HTTPDestination, url: HTTPURLTemplate, contentType: String? = "application/json") {
            self.init(http) { event in
                let message = event.message
                let address = try url.url { name in Self.value(name, of: message) }
                var headers: [HTTPHeader] = []
                for header in message.headers {
                    guard let bytes = header.value else { continue }
                    guard let text = String(validating: bytes, as: UTF8.self) else {
                        throw OutboxError.invalidMessage("its header \(header.name) is not text")
                    }
                    headers.append(HTTPHeader(header.name, text))
                }
                if let contentType, !headers.contains(where: { $0.name.lowercased() == "content-type" }) {
                    headers.append(HTTPHeader("Content-Type", contentType))
                }
                return HTTPMessage(
                    HTTPMessage.Method(rawValue: message.attributes["method"] ?? "POST"),
                    to: address,
                    headers: headers,
                    body: message.payload ?? []
                )
            }
        }

        private static func value(_ name: String, of message: OutboxMessage) -> String? {
            switch name {
            case "topic": return message.topic
            case "key": return message.key.flatMap { String(validating: $0, as: UTF8.self) }
            case "idempotencyKey": return message.idempotencyKey
            default:
                if name.hasPrefix("attribute.") { return message.attributes[String(name.dropFirst(10))] }
                guard name.hasPrefix("header.") else { return nil }
                let header = message.headers.first { $0.name == name.dropFirst(7) }
                return header?.value.flatMap { String(validating: $0, as: UTF8.self) }
            }
        }

        /// Sends a batch.
        public func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
            let chains = KeyChains(batch.map { $0.message.key.map(Self.hexadecimal) })
            return await chains.run(maximum: max(maximumConcurrentRequests, 1)) { index, before in
                if let before, !before.isAccepted {
                    return .unavailable(reason: "waits for an earlier event of its key")
                }
                return await publish(batch[index])
            }
        }

        private func publish(_ event: OutboxEvent) async -> OutboxOutcome {
            var message: HTTPMessage
            do {
                message = try request(event)
            } catch {
                return .rejected(reason: "no request can be made of it: \(error)", isRetriable: false)
            }
            message.idempotencyKey = event.message.idempotencyKey
            message.key = event.message.key.map(Self.hexadecimal)
            message.headers.append(HTTPHeader("Outbox-Id", "\(event.id.number)"))
            message.headers.append(HTTPHeader("Outbox-Created-At", "\(event.createdAt.timeIntervalSince1970)"))
            do throws(HTTPDeliveryError) {
                let response = try await http.send(message)
                return .accepted(OutboxReceipt(place: message.url.description, position: Int64(response.status)))
            } catch {
                return outcome(of: error)
            }
        }

        /// What an error says about the event.
        func outcome(of error: HTTPDeliveryError) -> OutboxOutcome {
            switch error.kind {
            case .rejected, .unavailable, .unroutable:
                if let status = error.response?.status, unavailableStatuses.contains(status) {
                    return .unavailable(reason: error.reason, retryAfter: error.retryAfter)
                }
                if error.kind == .unroutable { return .unroutable(reason: error.reason) }
                return .rejected(
                    reason: error.reason,
                    isRetriable: error.recovery == .retry,
                    retryAfter: error.retryAfter
                )
            case .invalidMessage: return .rejected(reason: error.reason, isRetriable: false)
            default:
                return error.persistence == .notPersisted
                    ? .unavailable(reason: error.reason) : .unknown(reason: error.reason)
            }
        }

        private static func hexadecimal(_ bytes: [UInt8]) -> String {
            let digits = Array("0123456789abcdef".utf8)
            return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
        }
    }
#else
    /// Needs the package's trait `HTTP`, which is off by default, so that users of other products resolve and link none of it.
    @available(
        *,
        unavailable,
        message: "Switch the trait on where you name the package: .package(url: …, traits: [\"HTTP\"])"
    )
    public enum HTTPOutboxDestination {}
#endif
