#if HTTP
    public import AsyncHTTPClient

    extension HTTPDestination {
        /// The settings of a destination. Every number is a bound.
        public struct Configuration: Sendable {
            /// How many requests are sent at a time, 1 to 10,000; further ones wait for their turn.
            public var maximumConcurrentRequests = 64

            /// How long it may take until a connection is there, TLS included; more than zero.
            public var connectTimeout: Duration = .seconds(5)

            /// How long a request may take in all, from its turn to the end of the answer; more than zero.
            public var requestTimeout: Duration = .seconds(30)

            /// How long the server may be silent; more than zero.
            public var readTimeout: Duration = .seconds(15)

            /// How much of an answer's body is read, in bytes, 0 or more. The connection of a longer one is closed.
            public var maximumResponseBytes = 16_384

            /// How much of an answer's header is kept, names and values in bytes, 0 or more. (swift-nio's parser refuses more than
            /// 256 fields, and more than 2 MiB.)
            public var maximumResponseHeaderBytes = 16_384

            /// The longest ``HTTPDeliveryError/retryAfter``, whatever the server asks for; zero or more.
            public var maximumRetryAfter: Duration = .seconds(300)

            /// The statuses that say that the same request may succeed later: 408, 425, 429 and 5xx. A server that answers 409 while
            /// the first request of an idempotency key is still being carried out wants 409 among them.
            public var retriableStatuses: Set<Int> = Set([408, 425, 429] + Array(500...599))

            /// The header that has the message's idempotency key (draft-ietf-httpapi-idempotency-key-header); sent as it is: a server that
            /// wants a quoted string gets a quoted key.
            public var idempotencyKeyHeader = "Idempotency-Key"

            /// Sent with every request; `Authorization`, for instance. A message's own take their places.
            public var headers: [HTTPHeader] = []

            /// async-http-client's own settings: TLS, proxy, HTTP version. Redirects are not followed and nothing is decompressed,
            /// whatever it says, and the time-outs are those above.
            public var client = HTTPClient.Configuration()

            /// The default settings.
            public init() {}

            func validate() throws(HTTPDeliveryError) {
                guard (1...10_000).contains(maximumConcurrentRequests) else {
                    throw .invalid(
                        "maximumConcurrentRequests is \(maximumConcurrentRequests), and has to be 1 to 10000"
                    )
                }
                for (name, duration) in [
                    ("connectTimeout", connectTimeout), ("requestTimeout", requestTimeout),
                    ("readTimeout", readTimeout),
                ] where duration <= .zero || duration > .seconds(86_400) {
                    throw .invalid("\(name) is \(duration), and has to be more than zero, and at most a day")
                }
                guard maximumResponseBytes >= 0, maximumResponseHeaderBytes >= 0, maximumRetryAfter >= .zero else {
                    throw .invalid("a bound of the answer is below zero")
                }
                guard HTTPHeader.isToken(idempotencyKeyHeader) else {
                    throw .invalid("idempotencyKeyHeader is no header's name")
                }
                if let fault = headers.lazy.compactMap(\.fault).first { throw .invalid(fault) }
            }
        }
    }
#endif
