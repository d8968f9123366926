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
    /// | 401, 403, 429, 502, 503, 504; no connection | unavailable: again for as long as it takes |
    /// | 408, 425, other 5xx | rejected, retriable: counted, and parked after the last attempt |
    /// | 404, 410 | unroutable |
    /// | other 4xx, 3xx; an event that is no request | rejected: parked |
    /// | time-out or cut after the request was written | unknown: again, with the same key |
    ///
    /// `Retry-After` makes a wait longer than it would be, up to ``OutboxRetry/maximumDelay`` (30 seconds), and never shorter.
    ///
    /// **Servers that are away.** With a template there is one server, and the destination is away when it is: nothing is sent meanwhile
    /// but one batch now and then, and the publisher says so (``OutboxPublisher/Event/destinationUnavailable(_:reason:)``). The requests
    /// of a closure may go to many. Then each key waits for itself, and a server (scheme, host and port) that three times in a row could
    /// not be connected to, gave no answer or said that it is away (502, 503, 504) is asked again by one request at a time, after 100 ms
    /// up to 30 seconds; what else is for it waits, and keeps no place from others. An answer with 401, 403 or 429 is about one sender or
    /// address, so only its event, and what follows with its key, waits. That holds for as long as fewer than
    /// ``OutboxPublisher/Configuration/maximumWithheldKeys`` keys of a slot wait (some 30,000 keys in all): a backlog that is larger
    /// holds the others up until the server is back. Where that may be, give such a server a destination of its own. The publisher tells of
    /// each server that has said nothing for half a minute, and when it is back
    /// (``OutboxPublisher/Event/placeUnavailable(_:destination:reason:)``).
    ///
    /// A batch is four times ``maximumConcurrentRequests``, for its rows are deleted when all of it has an answer: that is what is sent
    /// again after a crash.
    public struct HTTPOutboxDestination: OutboxDestination {
        /// Statuses that say that the server as a whole is away or overloaded, or does not know who asks, and nothing about the event: with
        /// 401 and 403 among them, a token that has expired parks no event. Take those out where the server judges events by them.
        public var unavailableStatuses: Set<Int> = [401, 403, 429, 502, 503, 504]

        /// How many requests of a batch at a time, 1 to 10,000; all batches together have the destination's own maximum.
        public var maximumConcurrentRequests = 16

        /// Four times ``maximumConcurrentRequests``.
        public var maximumBatchCount: Int { concurrency * 4 }

        /// Whether a closure decides where a request goes.
        public var hasManyPlaces: Bool { origins != nil }

        /// The server that a closure chose (scheme, host and port).
        public func place(of event: OutboxEvent) -> String? {
            origins == nil ? nil : (try? request(event))?.url.origin
        }

        private var concurrency: Int { min(max(maximumConcurrentRequests, 1), 10_000) }

        private let http: HTTPDestination
        /// Where a closure decides.
        private let origins: OriginWatch?
        private let request: @Sendable (OutboxEvent) throws -> HTTPMessage

        /// Events as the requests that a closure makes of them. For an event whose server gives no verdict it is called once more, to tell where
        /// that is.
        ///
        /// The message's idempotency key and its key for the order become the event's, whatever the closure says.
        ///
        /// - Parameters:
        ///   - http: What sends; closed by the code that made it, after the publisher.
        ///   - request: An event that it throws for is rejected and parked, with the error as the reason.
        public init(_ http: HTTPDestination, request: @escaping @Sendable (OutboxEvent) throws -> HTTPMessage) {
            self.init(http, OriginWatch(), request)
        }

        private init(
            _ http: HTTPDestination,
            _ origins: OriginWatch?,
            _ request: @escaping @Sendable (OutboxEvent) throws -> HTTPMessage
        ) {
            self.http = http
            self.origins = origins
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
            self.init(http, nil) { event in
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
            return await chains.run(maximum: concurrency) { index, before in
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
            guard let origins else { return await send(message).outcome }
            let origin = message.url.origin
            if let wait = origins.wait(origin, at: .now) {
                return .unavailable(reason: "\(origin) is away", retryAfter: wait)
            }
            let (outcome, error) = await send(message)
            // The server was not asked, or its answer not waited for: it is as there or as away as before.
            if let error, [.invalidMessage, .cancelled, .closed].contains(error.kind) {
                origins.release(origin)
                return outcome
            }
            let (isThere, retryAfter): (Bool, Duration?) =
                switch outcome {
                // It answers, and may answer others otherwise: each event waits for itself.
                case .unavailable where Self.statusesOfSender.contains(error?.response?.status ?? 0): (true, nil)
                case .unavailable(_, let retryAfter): (false, retryAfter)
                case .unknown: (false, nil)
                default: (true, nil)
                }
            origins.note(origin, isThere: isThere, retryAfter: retryAfter, at: .now)
            return outcome
        }

        /// Statuses by which a server that works says something about the sender of a request: it does not know it, it has no right to this
        /// address, it sends too much to it.
        private static let statusesOfSender: Set<Int> = [401, 403, 429]

        /// - Returns: The error with it that it follows from, where there was one.
        private func send(_ message: HTTPMessage) async -> (outcome: OutboxOutcome, error: HTTPDeliveryError?) {
            do throws(HTTPDeliveryError) {
                let response = try await http.send(message)
                let receipt = OutboxReceipt(place: message.url.description, position: Int64(response.status))
                return (.accepted(receipt), nil)
            } catch {
                return (outcome(of: error), error)
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
