#if HTTP
    import DeliveryCore
    import HTTPDelivery
    import Synchronization
    import Testing

    extension HTTPDestination {
        /// Why a message was not sent; nil where it was.
        fileprivate func failure(_ message: HTTPMessage) async -> HTTPDeliveryError? {
            do throws(HTTPDeliveryError) {
                try await send(message)
                return nil
            } catch {
                return error
            }
        }
    }

    /// What a server of any kind makes of a send.
    @Suite(.timeLimit(.minutes(2))) struct HTTPDestinationTests {
        private func destination(_ change: (inout HTTPDestination.Configuration) -> Void = { _ in }) throws
            -> HTTPDestination
        {
            var configuration = HTTPDestination.Configuration()
            change(&configuration)
            return try HTTPDestination(configuration)
        }

        // MARK: What arrives

        @Test func aRequestArrivesAsItWasGiven() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(201, ["X-Made: 7"], body: "made") }
            let destination = try destination {
                $0.headers = [HTTPHeader("Authorization", "Bearer all"), HTTPHeader("X-All", "1")]
            }
            let url = try HTTPURL(server.url.replacing("http://", with: "http://u:p@") + "/a%20b?c=d")
            var message = HTTPMessage(.put, to: url, headers: [HTTPHeader("X-One", "2")], body: [0, 13, 10, 255])
            message.idempotencyKey = "k-1"

            let receipt = try await destination.send(message)

            #expect(receipt.status == 201)
            #expect(receipt.header("x-made") == "7")
            #expect(receipt.body == Array("made".utf8))
            #expect(receipt.isBodyComplete)
            let request = try #require(server.requests.first)
            #expect(request.method == "PUT")
            #expect(request.target == "/a%20b?c=d")
            #expect(request.body == [0, 13, 10, 255])
            #expect(request.header("Idempotency-Key") == "k-1")
            #expect(request.header("X-All") == "1")
            #expect(request.header("X-One") == "2")
            #expect(request.headers.filter { $0.name.lowercased() == "authorization" }.map(\.value) == ["Bearer all"])

            message.url = try HTTPURL(server.url.replacing("http://", with: "http://u:p@"))
            try await HTTPDestination().send(message)
            #expect(server.requests.last?.header("Authorization") == "Basic dTpw")
        }

        @Test func sendingAMessageAgainSendsTheSameIdempotencyKey() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(503) }
            let destination = try destination()
            let message = HTTPMessage(to: try HTTPURL(server.url))
            for _ in 0..<2 {
                #expect(await destination.failure(message)?.kind == .unavailable)
            }
            let keys = server.requests.map { $0.header("Idempotency-Key") }
            #expect(keys.count == 2)
            #expect(keys.first == message.idempotencyKey)
            #expect(Set(keys).count == 1)
        }

        @Test func whatCannotBeSentReachesNoServer() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(200) }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            var messages = [
                HTTPMessage(to: url, headers: [HTTPHeader("X", "a\r\nEvil: 1")]),
                HTTPMessage(to: url, headers: [HTTPHeader("Content-Length", "0")], body: [1]),
                HTTPMessage(HTTPMessage.Method(rawValue: "GET / HTTP/1.1\r\nX:"), to: url),
                HTTPMessage(HTTPMessage.Method(rawValue: "CONNECT"), to: url),
                HTTPMessage(to: url),
            ]
            messages[4].idempotencyKey = "a\nb"
            for result in await destination.send(contentsOf: messages) {
                #expect(result.failure?.kind == .invalidMessage)
                #expect(result.failure?.persistence == .notPersisted)
                #expect(result.failure?.recovery == .fixRequest)
            }
            #expect(server.connectionCount == 0)
        }

        @Test func redirectsAreNotFollowed() async throws {
            let other = try ScriptedServer.answering { _ in ScriptedServer.answer(200) }
            let elsewhere = other.url
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(307, ["Location: \(elsewhere)/"]) }
            let destination = try destination()
            let message = HTTPMessage(to: try HTTPURL(server.url), body: [1])
            let error = await destination.failure(message)
            #expect(error?.kind == .rejected)
            #expect(error?.response?.status == 307)
            #expect(error?.reason.contains("redirects are not followed") == true)
            #expect(other.connectionCount == 0)
        }

        @Test func theServersRetryAfterIsInTheError() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(429, ["Retry-After: 3"]) }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            let error = await destination.failure(HTTPMessage(to: url))
            #expect(error?.retryAfter == .seconds(3))
            #expect(error?.recovery == .retry)
            #expect(error?.persistence == .notPersisted)
        }

        // MARK: Order

        @Test func requestsOfOneKeyAreSentOneAtATimeInOrder() async throws {
            let concurrent = Mutex((now: [String: Int](), most: 0))
            let server = try ScriptedServer { connection in
                while let request = connection.readRequest() {
                    concurrent.withLock { state in
                        state.now[request.target, default: 0] += 1
                        state.most = max(state.most, state.now[request.target, default: 0])
                    }
                    concurrent.withLock { $0.now[request.target, default: 0] -= 1 }
                    connection.write(ScriptedServer.answer(200))
                }
            }
            let destination = try destination()
            let messages = try (0..<200).map { index in
                HTTPMessage(
                    to: try HTTPURL("\(server.url)/\(index % 5)"),
                    body: Array("\(index)".utf8),
                    key: "\(index % 5)"
                )
            }
            let results = await destination.send(contentsOf: messages)
            #expect(results.allSatisfy { $0.failure == nil })
            #expect(concurrent.withLock { $0.most } == 1)
            for key in 0..<5 {
                let bodies = server.requests.filter { $0.target == "/\(key)" }.map {
                    String(decoding: $0.body, as: UTF8.self)
                }
                #expect(bodies == (0..<200).filter { $0 % 5 == key }.map(String.init))
            }
        }

        @Test func requestsOfDifferentKeysAreSentAtTheSameTimeUpToTheMaximum() async throws {
            let arrived = Mutex((now: 0, most: 0))
            let door = Door()
            let server = try ScriptedServer { connection in
                while connection.readRequest() != nil {
                    arrived.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
                    door.wait()
                    arrived.withLock { $0.now -= 1 }
                    connection.write(ScriptedServer.answer(200))
                }
            }
            let destination = try destination { $0.maximumConcurrentRequests = 4 }
            let url = try HTTPURL(server.url)
            async let results = destination.send(contentsOf: (0..<12).map { HTTPMessage(to: url, key: "\($0)") })
            await waitUntil { arrived.withLock { $0.now } == 4 }
            door.open()
            #expect(await results.allSatisfy { $0.failure == nil })
            #expect(arrived.withLock { $0.most } == 4)
            #expect(server.requests.count == 12)
        }

        @Test func oneFailureKeepsNoOtherMessageOfABatchFromBeingSent() async throws {
            let server = try ScriptedServer.answering { ScriptedServer.answer($0.target == "/bad" ? 422 : 200) }
            let destination = try destination()
            let messages = try ["/bad", "/good", "/bad", "/good"].map {
                HTTPMessage(to: try HTTPURL(server.url + $0), key: "k")
            }
            let results = await destination.send(contentsOf: messages)
            #expect(results.map { $0.failure?.kind } == [.rejected, nil, .rejected, nil])
        }

        // MARK: No connection

        @Test(arguments: [[], [1]] as [[UInt8]]) func aRefusedConnectionIsCertainlyNotPersisted(body: [UInt8])
            async throws
        {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(200) }
            let url = try HTTPURL(server.url + "/path?secret")
            server.close()
            let destination = try destination()
            let error = await destination.failure(HTTPMessage(to: url, body: body))
            #expect(error?.kind == .notConnected)
            #expect(error?.persistence == .notPersisted)
            #expect(error?.recovery == .retry)
            #expect(error?.reason.contains("secret") == false)
        }

        @Test(arguments: [[], [1]] as [[UInt8]]) func aHostWithoutAnAddressIsCertainlyNotPersisted(body: [UInt8])
            async throws
        {
            let url = try HTTPURL("http://no-such-host.invalid/")
            let destination = try destination()
            let error = await destination.failure(HTTPMessage(to: url, body: body))
            #expect(error?.kind == .notConnected)
            #expect(error?.persistence == .notPersisted)
        }

        /// Nothing accepts, and the system's queue is full: the handshake is not answered.
        @Test func aConnectionThatDoesNotComeAboutIsTimedAndNotPersisted() async throws {
            let server = try ScriptedServer(backlog: 0, accepts: false) { _ in }
            let destination = try destination { $0.connectTimeout = .milliseconds(300) }
            let url = try HTTPURL(server.url)
            // The first of them fill the queue, are connected, and time out without an answer.
            let results = await withTaskGroup(of: HTTPDeliveryError?.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        await destination.failure(HTTPMessage(to: url, body: [1], key: nil))
                    }
                }
                var errors: [HTTPDeliveryError?] = []
                while let error = await group.next() {
                    errors.append(error)
                    if error?.kind == .notConnected { group.cancelAll() }
                }
                return errors
            }
            let refused = results.filter { $0?.kind == .notConnected }
            #expect(!refused.isEmpty)
            #expect(refused.allSatisfy { $0?.persistence == .notPersisted && $0?.recovery == .retry })
        }

        @Test func aServerThatSpeaksNoTLSIsCertainlyNotPersisted() async throws {
            let server = try ScriptedServer { connection in
                connection.write("HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n")
                connection.hold()
            }
            let destination = try destination()
            let url = try HTTPURL(server.url.replacing("http://", with: "https://"))
            let error = await destination.failure(HTTPMessage(to: url, body: [1]))
            #expect(error?.kind == .notConnected)
            #expect(error?.persistence == .notPersisted)
        }

        // MARK: No answer

        @Test func aServerThatSaysNothingLeavesTheOutcomeUnknown() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.hold()
            }
            let url = try HTTPURL(server.url)
            for setting in [\HTTPDestination.Configuration.requestTimeout, \.readTimeout] {
                let destination = try destination { $0[keyPath: setting] = .seconds(2) }
                let error = await destination.failure(HTTPMessage(to: url, body: [1]))
                #expect(error?.kind == .timedOut)
                #expect(error?.persistence == .possiblyPersisted)
                #expect(error?.recovery == .retry)
            }
        }

        @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n"])
        func aCutBeforeTheAnswerIsWholeLeavesTheOutcomeUnknown(written: String) async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.write(written)
            }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            let error = await destination.failure(HTTPMessage(to: url, body: [1]))
            #expect(error?.kind == .connectionLost)
            #expect(error?.persistence == .possiblyPersisted)
            #expect(error?.recovery == .retry)
        }

        @Test func whatIsNotHTTPLeavesTheOutcomeUnknown() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.write("SSH-2.0-OpenSSH_9.2\r\n\r\n")
                connection.hold()
            }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            let error = await destination.failure(HTTPMessage(to: url, body: [1]))
            #expect(error?.kind == .connectionLost)
            #expect(error?.persistence == .possiblyPersisted)
        }

        // MARK: Answers without an end

        @Test func aSuccessWhoseBodyIsCutIsASuccess() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            }
            let destination = try destination()
            let receipt = try await destination.send(HTTPMessage(to: HTTPURL(server.url), body: [1]))
            #expect(receipt.status == 200)
            #expect(receipt.body == Array("half".utf8))
            #expect(!receipt.isBodyComplete)
        }

        @Test func anEndlessBodyIsReadUpToItsBound() async throws {
            let gone = Mutex(false)
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while connection.write("10\r\n0123456789abcdef\r\n") {}
                gone.withLock { $0 = true }
            }
            let destination = try destination { $0.maximumResponseBytes = 1_000 }
            let receipt = try await destination.send(HTTPMessage(to: HTTPURL(server.url), body: [1]))
            #expect(receipt.body.count == 1_000)
            #expect(!receipt.isBodyComplete)
            // The connection is closed, not read to an end that does not come.
            await waitUntil { gone.withLock { $0 } }
        }

        @Test func aBodyThatStaysOutIsWaitedForUntilTheTimeIsUp() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                connection.hold()
            }
            let destination = try destination { $0.requestTimeout = .seconds(2) }
            let receipt = try await destination.send(HTTPMessage(to: HTTPURL(server.url), body: [1]))
            #expect(receipt.body == Array("abc".utf8))
            #expect(!receipt.isBodyComplete)
        }

        @Test func endlessHeadersEndAndAreUnknown() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.write("HTTP/1.1 200 OK\r\n")
                while connection.write("X-Header: 0123456789abcdef0123456789abcdef\r\n") {}
            }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            let error = await destination.failure(HTTPMessage(to: url, body: [1]))
            #expect(error?.kind == .connectionLost)
            #expect(error?.persistence == .possiblyPersisted)
        }

        @Test func manyHeadersAreKeptUpToTheirBound() async throws {
            let headers = (0..<100).map { "X-\($0): \(String(repeating: "v", count: 96))" }
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(200, headers) }
            let destination = try destination { $0.maximumResponseHeaderBytes = 1_000 }
            let receipt = try await destination.send(HTTPMessage(to: HTTPURL(server.url)))
            #expect((5...10).contains(receipt.headers.count))
        }

        // MARK: Ends

        @Test func cancellingATaskEndsItsRequest() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.hold()
            }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            let sent = Task { await destination.failure(HTTPMessage(to: url, body: [1], key: "k")) }
            await waitUntil { server.requests.count == 1 }
            let waiting = Task { await destination.failure(HTTPMessage(to: url, body: [1], key: "k")) }
            waiting.cancel()
            let unsent = await waiting.value
            #expect(unsent?.kind == .cancelled)
            #expect(unsent?.persistence == .notPersisted)
            sent.cancel()
            let unknown = await sent.value
            #expect(unknown?.kind == .cancelled)
            #expect(unknown?.persistence == .possiblyPersisted)
            #expect(server.requests.count == 1)
        }

        @Test func closingWaitsForTheRequestsThatWereGiven() async throws {
            let door = Door()
            let server = try ScriptedServer { connection in
                while connection.readRequest() != nil {
                    door.wait()
                    connection.write(ScriptedServer.answer(200))
                }
            }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            async let results = destination.send(contentsOf: (0..<3).map { _ in HTTPMessage(to: url, key: "k") })
            await waitUntil { server.requests.count == 1 }
            async let summary = destination.close(within: .seconds(60))
            door.open()
            let sent = await results
            // The first was being sent. The others came before or after the destination was closed.
            #expect(sent.first?.failure == nil)
            #expect(sent.allSatisfy { $0.failure == nil || $0.failure?.kind == .closed })
            #expect(await summary == HTTPDestination.CloseSummary(unsent: 0, unknown: 0))
            let late = await destination.failure(HTTPMessage(to: url))
            #expect(late?.kind == .closed)
            #expect(late?.persistence == .notPersisted)
            #expect(late?.recovery == .recreateClient)
        }

        @Test func closingEndsWhatIsLeftAtItsDeadlineAndSaysHowMuch() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.hold()
            }
            let destination = try destination { $0.maximumConcurrentRequests = 2 }
            let url = try HTTPURL(server.url)
            let sends = (0..<5).map { _ in
                Task { await destination.failure(HTTPMessage(to: url, body: [1])) }
            }
            await waitUntil { server.requests.count == 2 && destination.waitingCount == 3 }
            let summary = await destination.close(within: .milliseconds(50))
            #expect(summary == HTTPDestination.CloseSummary(unsent: 3, unknown: 2))
            var persistence: [DeliveryPersistence?] = []
            for send in sends {
                let error = await send.value
                #expect(error?.kind == .closed)
                persistence.append(error?.persistence)
            }
            #expect(persistence.filter { $0 == .possiblyPersisted }.count == 2)
            #expect(persistence.filter { $0 == .notPersisted }.count == 3)
            #expect(
                await destination.close(within: .seconds(60)) == HTTPDestination.CloseSummary(unsent: 0, unknown: 0)
            )
        }

        @Test func aDestinationThatIsLetGoOfClosesItsConnections() async throws {
            let gone = Mutex(false)
            let server = try ScriptedServer { connection in
                while connection.readRequest() != nil { connection.write(ScriptedServer.answer(200)) }
                gone.withLock { $0 = true }
            }
            var destination: HTTPDestination? = try destination()
            try await destination?.send(HTTPMessage(to: HTTPURL(server.url)))
            destination = nil
            await waitUntil { gone.withLock { $0 } }
        }

        @Test func aConnectionThatTheServerClosedMeanwhileIsReplaced() async throws {
            let server = try ScriptedServer { connection in
                if connection.readRequest() != nil { connection.write(ScriptedServer.answer(200)) }
            }
            let destination = try destination()
            let url = try HTTPURL(server.url)
            try await destination.send(HTTPMessage(to: url, body: [1]))
            // The cut is seen before the next request, or while it is being sent; sending it again then succeeds.
            let error = await destination.failure(HTTPMessage(to: url, body: [1]))
            #expect(error == nil || error?.recovery == .retry)
            if error != nil { try await destination.send(HTTPMessage(to: url, body: [1])) }
            #expect(server.connectionCount >= 2)
        }

        @Test(
            arguments: [
                { $0.maximumConcurrentRequests = 0 }, { $0.requestTimeout = .zero },
                { $0.connectTimeout = .seconds(-1) },
                { $0.readTimeout = .seconds(1_000_000) }, { $0.maximumResponseBytes = -1 },
                { $0.idempotencyKeyHeader = "a b" },
                { $0.headers = [HTTPHeader("X", "a\nb")] }, { $0.maximumRetryAfter = .seconds(-1) },
            ] as [@Sendable (inout HTTPDestination.Configuration) -> Void]
        )
        func aSettingThatCannotBeUsedIsRefused(change: @Sendable (inout HTTPDestination.Configuration) -> Void) {
            var configuration = HTTPDestination.Configuration()
            change(&configuration)
            let changed = configuration
            let error = #expect(throws: HTTPDeliveryError.self) { try HTTPDestination(changed) }
            #expect(error?.kind == .invalidMessage)
        }
    }
#endif
