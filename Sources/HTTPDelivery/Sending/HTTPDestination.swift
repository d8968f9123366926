#if HTTP
    public import DeliveryCore
    internal import AsyncHTTPClient
    internal import NIOCore

    /// Sends HTTP requests, each with exactly one outcome: the answer to one that was carried out, or an error that says whether it
    /// may have been, and what to do.
    ///
    /// ```swift
    /// let destination = try HTTPDestination()
    /// do {
    ///     try await destination.send(HTTPMessage(json: task, to: HTTPURL("https://hooks.example.com/tasks")))
    /// } catch where error.recovery == .retry {
    ///     …                          // later; error.retryAfter says when, where the server did
    /// }
    /// _ = await destination.close(within: .seconds(10))
    /// ```
    ///
    /// | what happened | outcome |
    /// |---|---|
    /// | 2xx | the answer |
    /// | 408, 425, 429, 501, 505 | `unavailable`, `notPersisted`: retry |
    /// | other 5xx | `unavailable`, `possiblyPersisted`: retry, with the same idempotency key |
    /// | 404, 410 | `unroutable`, `notPersisted`: fix the request |
    /// | other 4xx; 3xx, which is not followed | `rejected`, `notPersisted`: fix the request |
    /// | no connection | `notConnected`, `notPersisted`: retry |
    /// | time-out or cut before the request was written | `timedOut`, `connectionLost`, `notPersisted`: retry |
    /// | time-out or cut afterwards | `timedOut`, `connectionLost`, `possiblyPersisted`: retry, with the same idempotency key |
    ///
    /// Requests with the same ``HTTPMessage/key`` are sent one at a time, in the order in which they came; others at the same time, up to
    /// ``Configuration/maximumConcurrentRequests``. It does not retry by itself.
    public final class HTTPDestination: Destination {
        private let configuration: Configuration
        private let statuses: StatusRules
        private let gate: RequestGate
        private let client: HTTPClient

        /// Makes a destination. No connection is made before the first send.
        ///
        /// - Throws: ``HTTPDeliveryError`` of the kind `invalidMessage` where a setting cannot be used.
        public init(_ configuration: Configuration = Configuration()) throws(HTTPDeliveryError) {
            try configuration.validate()
            self.configuration = configuration
            statuses = StatusRules(
                retriable: configuration.retriableStatuses,
                maximumRetryAfter: configuration.maximumRetryAfter
            )
            gate = RequestGate(places: configuration.maximumConcurrentRequests)
            var settings = configuration.client
            settings.redirectConfiguration = .disallow
            settings.decompression = .disabled
            settings.timeout = HTTPClient.Configuration.Timeout(
                connect: TimeAmount(configuration.connectTimeout),
                read: TimeAmount(configuration.readTimeout),
                write: TimeAmount(configuration.readTimeout)
            )
            // The gate is what bounds; a request waits here, where it can be told apart from one that was sent.
            settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.maximumConcurrentRequests
            // One attempt to connect a send, so that a refused connection is told at once.
            settings.connectionPool.retryConnectionEstablishment = false
            client = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: settings)
        }

        deinit {
            // A client that is let go of without having been shut down traps; it ends here where `close` was not called.
            client.shutdown { _ in }
        }

        /// Sends a request and waits for its answer.
        ///
        /// Cancelling the task ends the request.
        ///
        /// - Returns: The answer, whose status is 2xx.
        /// - Throws: ``HTTPDeliveryError``; see the table above.
        @discardableResult
        public func send(_ message: HTTPMessage) async throws(HTTPDeliveryError) -> HTTPResponse {
            let request = try HTTPExchange.request(message, configuration)
            switch await gate.enter(key: message.key) {
            case .go: break
            case .cancelled: throw .cancelled(.notPersisted)
            case .closed: throw .closed(.notPersisted, "the destination is closed; the request was not sent")
            }
            defer { gate.leave(key: message.key) }
            let exchange = HTTPExchange(message: message, request: request, configuration: configuration)
            let id = WaiterID.next()
            let end = TimedWait<Void>()
            gate.begin(id, end: end)
            defer { gate.finish(id) }
            let response: HTTPResponse
            switch await exchange.run(client, until: end) {
            case .success(let answer): response = answer
            case .failure(let error):
                // Its task ended it for a reason that the exchange does not know.
                if error.kind == .timedOut, gate.isOver {
                    throw .closed(
                        error.persistence ?? .possiblyPersisted,
                        "the destination was closed before the answer came"
                    )
                }
                throw error
            }
            if let error = statuses.error(for: response, from: message.url.description, now: HTTPExchange.now()) {
                throw error
            }
            return response
        }

        /// Sends many requests and waits for all of them: those of one key one after the other, in order, the others at the same time.
        ///
        /// - Returns: For each message, in the order given, the answer or why there is none. One failure does not keep the others from
        ///   being sent.
        public func send(contentsOf messages: some Sequence<HTTPMessage>) async -> [Result<
            HTTPResponse, HTTPDeliveryError
        >] {
            let messages = Array(messages)
            return await KeyChains(messages.map(\.key)).run(maximum: configuration.maximumConcurrentRequests) {
                index,
                _ in
                do throws(HTTPDeliveryError) {
                    return .success(try await self.send(messages[index]))
                } catch {
                    return .failure(error)
                }
            }
        }

        /// Takes no more requests, waits for those that were given, ends what is left at the deadline, and closes the connections.
        ///
        /// - Parameter duration: How long to wait.
        /// - Returns: What became of the rest. A second call returns an empty summary at once.
        public func close(within duration: Duration) async -> CloseSummary {
            guard let rest = await gate.close(until: .after(duration)) else {
                return CloseSummary(unsent: 0, unknown: 0)
            }
            await withCheckedContinuation { continuation in
                client.shutdown { _ in continuation.resume() }
            }
            return CloseSummary(unsent: rest.unsent, unknown: rest.ended)
        }

        /// How many requests wait for their turn.
        package var waitingCount: Int { gate.waitingCount }

        /// What was not finished when a destination was closed; each of these sends has thrown, too.
        public struct CloseSummary: Sendable, Hashable {
            /// How many requests were not sent.
            public var unsent: Int
            /// How many requests were ended before their answer came; they may have been carried out.
            public var unknown: Int

            /// A summary, for a destination of a test's own.
            public init(unsent: Int, unknown: Int) {
                self.unsent = unsent
                self.unknown = unknown
            }
        }
    }
#else
    /// Needs the package's trait `HTTP`, which is off by default, so that users of other products resolve and link none of it.
    @available(
        *,
        unavailable,
        message: "Switch the trait on where you name the package: .package(url: …, traits: [\"HTTP\"])"
    )
    public enum HTTPDestination {}
#endif
