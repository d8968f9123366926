#if HTTP
    internal import AsyncHTTPClient
    internal import DeliveryCore
    internal import DeliverySystem
    internal import NIOCore
    internal import NIOHTTP1
    internal import NIOPosix
    internal import Synchronization

    #if canImport(FoundationEssentials)
        internal import FoundationEssentials
    #else
        internal import Foundation
    #endif

    /// One request and its answer, within its time.
    struct HTTPExchange: Sendable {
        private enum Ending: Sendable {
            case answered(Result<HTTPResponse, HTTPDeliveryError>)
            case timeIsUp
        }

        private let message: HTTPMessage
        private let request: HTTPClientRequest
        private let configuration: HTTPDestination.Configuration
        private let written = WrittenMark()

        init(message: HTTPMessage, request: HTTPClientRequest, configuration: HTTPDestination.Configuration) {
            self.message = message
            self.configuration = configuration
            var request = request
            if !message.body.isEmpty {
                request.body = .bytes(
                    WatchedBytes(bytes: message.body, mark: written),
                    length: .known(Int64(message.body.count))
                )
            }
            self.request = request
        }

        /// Seconds since 1970.
        static func now() -> Int64 { Int64(Date().timeIntervalSince1970) }

        /// The request's head.
        static func request(
            _ message: HTTPMessage,
            _ configuration: HTTPDestination.Configuration
        ) throws(HTTPDeliveryError) -> HTTPClientRequest {
            guard HTTPHeader.isToken(message.method.rawValue), message.method.rawValue != "CONNECT" else {
                throw .invalid("the method cannot be sent")
            }
            if message.method.rawValue == "TRACE", !message.body.isEmpty { throw .invalid("TRACE has no body") }
            if let fault = message.headers.lazy.compactMap(\.fault).first { throw .invalid(fault) }
            var request = HTTPClientRequest(url: message.url.text)
            request.method = HTTPMethod(rawValue: message.method.rawValue)
            if let credentials = message.url.credentials {
                request.headers.add(name: "Authorization", value: "Basic " + Data(credentials).base64EncodedString())
            }
            let own = Set(message.headers.map { $0.name.lowercased() })
            for header in configuration.headers where !own.contains(header.name.lowercased()) {
                if header.name.lowercased() == "authorization" { request.headers.remove(name: header.name) }
                request.headers.add(name: header.name, value: header.value)
            }
            if own.contains("authorization") { request.headers.remove(name: "Authorization") }
            for header in message.headers { request.headers.add(name: header.name, value: header.value) }
            if let key = message.idempotencyKey {
                guard !key.isEmpty, HTTPHeader.isValue(key) else {
                    throw .invalid("the idempotency key is empty or has a control character")
                }
                request.headers.replaceOrAdd(name: configuration.idempotencyKeyHeader, value: key)
            }
            return request
        }

        /// Sends the request and reads the answer, until the time is up or something else ends it.
        func run(_ client: HTTPClient, until end: TimedWait<Void>) async -> Result<HTTPResponse, HTTPDeliveryError> {
            let deadline = ContinuousClock.now + configuration.requestTimeout
            return await withTaskGroup(of: Ending.self) { group in
                group.addTask { .answered(await answer(client)) }
                group.addTask {
                    _ = await end.value(until: deadline, isCancellable: true)
                    return .timeIsUp
                }
                var isTimeUp = false
                for await ending in group {
                    switch ending {
                    case .timeIsUp:
                        isTimeUp = true
                        // The request ends at once; what it has of an answer counts.
                        group.cancelAll()
                    case .answered(let result):
                        group.cancelAll()
                        if case .failure(let error) = result, isTimeUp, error.kind == .cancelled, !Task.isCancelled {
                            return .failure(timedOut(error.persistence))
                        }
                        return result
                    }
                }
                return .failure(.cancelled(.possiblyPersisted))
            }
        }

        private func timedOut(_ persistence: DeliveryPersistence?) -> HTTPDeliveryError {
            let reason = "\(message.url) did not answer in \(configuration.requestTimeout)"
            return HTTPDeliveryError(.timedOut, persistence: persistence, recovery: .retry, reason: reason)
        }

        private func answer(_ client: HTTPClient) async -> Result<HTTPResponse, HTTPDeliveryError> {
            let answer: HTTPClientResponse
            do {
                // The time is this type's own: async-http-client's ends with the head.
                answer = try await client.execute(request, deadline: .distantFuture)
            } catch {
                return .failure(failure(error))
            }
            var response = HTTPResponse(status: Int(answer.status.code))
            var room = configuration.maximumResponseHeaderBytes
            for header in answer.headers {
                room -= header.name.utf8.count + header.value.utf8.count
                if room < 0 { break }
                response.headers.append(HTTPHeader(header.name, header.value))
            }
            do {
                for try await part in answer.body {
                    let rest = configuration.maximumResponseBytes - response.body.count
                    response.body.append(contentsOf: part.readableBytesView.prefix(rest))
                    if part.readableBytes > rest {
                        response.isBodyComplete = false
                        break
                    }
                }
            } catch {
                response.isBodyComplete = false
            }
            return .success(response)
        }

        /// What an error of the client's says about the request.
        private func failure(_ error: any Error) -> HTTPDeliveryError {
            let (kind, isBeforeSending) = Self.kind(of: error)
            // A server cannot have had the whole of a request whose body was not asked for yet.
            let isUnsent = message.body.isEmpty ? isBeforeSending : !written.isSet
            let persistence: DeliveryPersistence = isUnsent ? .notPersisted : .possiblyPersisted
            switch kind {
            case .cancelled: return .cancelled(persistence)
            case .closed: return .closed(persistence, "the destination is closed")
            case .invalidMessage: return .invalid("the request cannot be sent: \(Self.name(of: error))")
            default:
                // Where nothing was sent, whatever went wrong did so on the way to a connection.
                let kind = isUnsent && kind == .connectionLost ? .notConnected : kind
                let happened =
                    switch kind {
                    case .notConnected: "no connection to \(message.url): \(Self.name(of: error))"
                    case .timedOut: "\(message.url) was silent for \(configuration.readTimeout)"
                    default: "the connection to \(message.url) ended before the answer: \(Self.name(of: error))"
                    }
                return HTTPDeliveryError(kind, persistence: persistence, recovery: .retry, reason: happened)
            }
        }

        /// The kind, and whether the error can only come before a request is written.
        private static func kind(of error: any Error) -> (HTTPDeliveryError.Kind, Bool) {
            if error is CancellationError { return (.cancelled, false) }
            if error is NIOConnectionError { return (.notConnected, true) }
            if let error = error as? IOError { return (.connectionLost, error.errnoCode == ECONNREFUSED) }
            if case ChannelError.connectTimeout? = error as? ChannelError { return (.notConnected, true) }
            guard let error = error as? HTTPClientError else { return (.connectionLost, false) }
            switch error {
            case .cancelled: return (.cancelled, false)
            case .alreadyShutdown: return (.closed, true)
            case .connectTimeout, .getConnectionFromPoolTimeout, .tlsHandshakeTimeout, .socksHandshakeTimeout,
                .httpProxyHandshakeTimeout, .proxyAuthenticationRequired:
                return (.notConnected, true)
            case .readTimeout, .writeTimeout, .deadlineExceeded: return (.timedOut, false)
            case .invalidURL, .emptyHost, .emptyScheme, .traceRequestWithBody: return (.invalidMessage, true)
            default: return (.connectionLost, false)
            }
        }

        /// What an error says without its values: some of async-http-client's have the URL or headers in them.
        private static func name(of error: any Error) -> String {
            switch error {
            case let error as HTTPClientError: error.shortDescription
            case let error as NIOConnectionError:
                error.connectionErrors.first.map { name(of: $0.error) } ?? "\(error.host) has no address"
            case let error as IOError: String(cString: strerror(error.errnoCode))
            case let error as HTTPParserError: "not HTTP (\(error))"
            default: String(describing: type(of: error))
            }
        }
    }

    /// Whether a request's body has been asked for, which happens once its connection is there.
    private final class WrittenMark: Sendable {
        // Set on the connection's event loop, read by the task that sends.
        private let isMarked = Atomic(false)

        var isSet: Bool { isMarked.load(ordering: .acquiring) }

        func set() { isMarked.store(true, ordering: .releasing) }
    }

    /// A body that notes when it is read.
    private struct WatchedBytes: RandomAccessCollection, Sendable {
        let bytes: [UInt8]
        let mark: WrittenMark

        var startIndex: Int { bytes.startIndex }
        var endIndex: Int { bytes.endIndex }

        subscript(position: Int) -> UInt8 {
            mark.set()
            return bytes[position]
        }

        func makeIterator() -> IndexingIterator<[UInt8]> {
            mark.set()
            return bytes.makeIterator()
        }

        func withContiguousStorageIfAvailable<Result>(_ body: (UnsafeBufferPointer<UInt8>) throws -> Result) rethrows
            -> Result?
        {
            mark.set()
            return try bytes.withContiguousStorageIfAvailable(body)
        }
    }
#endif
