#if HTTP
    import DeliveryCore
    import HTTPDelivery
    import Synchronization
    import Testing

    /// What a server of any kind makes of a send.
    @Suite(.timeLimit(.minutes(5))) struct HTTPDestinationTests {
        // MARK: What arrives

        @Test func aRequestArrivesAsItWasGiven() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(201, ["X-Made: 7"], body: "made") }
            let destination = try makeDestination {
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
            let destination = try makeDestination()
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
            let destination = try makeDestination()
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
            let destination = try makeDestination()
            let message = HTTPMessage(to: try HTTPURL(server.url), body: [1])
            let error = await destination.failure(message)
            #expect(error?.kind == .rejected)
            #expect(error?.response?.status == 307)
            #expect(error?.reason.contains("redirects are not followed") == true)
            #expect(other.connectionCount == 0)
        }

        @Test func theServersRetryAfterIsInTheError() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(429, ["Retry-After: 3"]) }
            let destination = try makeDestination()
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
            let destination = try makeDestination()
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
            let destination = try makeDestination { $0.maximumConcurrentRequests = 4 }
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
            let destination = try makeDestination()
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
            let destination = try makeDestination()
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
            let destination = try makeDestination()
            let error = await destination.failure(HTTPMessage(to: url, body: body))
            #expect(error?.kind == .notConnected)
            #expect(error?.persistence == .notPersisted)
        }

        /// Nothing accepts, and the system's queue is full: the handshake is not answered.
        @Test func aConnectionThatDoesNotComeAboutIsTimedAndNotPersisted() async throws {
            let server = try ScriptedServer(backlog: 0, accepts: false) { _ in }
            let destination = try makeDestination { $0.connectTimeout = .milliseconds(300) }
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
            let destination = try makeDestination()
            let url = try HTTPURL(server.url.replacing("http://", with: "https://"))
            let error = await destination.failure(HTTPMessage(to: url, body: [1]))
            #expect(error?.kind == .notConnected)
            #expect(error?.persistence == .notPersisted)
        }
    }
#endif
