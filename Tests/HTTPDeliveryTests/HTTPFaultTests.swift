#if HTTP
    import DeliveryCore
    import HTTPDelivery
    import Synchronization
    import Testing

    /// What becomes of a send whose answer does not come, does not end, or is not waited for.
    @Suite(.timeLimit(.minutes(5))) struct HTTPFaultTests {
        // MARK: No answer

        @Test func aServerThatSaysNothingLeavesTheOutcomeUnknown() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.hold()
            }
            let url = try HTTPURL(server.url)
            for setting in [\HTTPDestination.Configuration.requestTimeout, \.readTimeout] {
                let destination = try makeDestination { $0[keyPath: setting] = .seconds(10) }
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
            let destination = try makeDestination()
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
            let destination = try makeDestination()
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
            let destination = try makeDestination()
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
            let destination = try makeDestination { $0.maximumResponseBytes = 1_000 }
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
            let destination = try makeDestination { $0.requestTimeout = .seconds(10) }
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
            let destination = try makeDestination()
            let url = try HTTPURL(server.url)
            let error = await destination.failure(HTTPMessage(to: url, body: [1]))
            #expect(error?.kind == .connectionLost)
            #expect(error?.persistence == .possiblyPersisted)
        }

        @Test func manyHeadersAreKeptUpToTheirBound() async throws {
            let headers = (0..<100).map { "X-\($0): \(String(repeating: "v", count: 96))" }
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(200, headers) }
            let destination = try makeDestination { $0.maximumResponseHeaderBytes = 1_000 }
            let receipt = try await destination.send(HTTPMessage(to: HTTPURL(server.url)))
            #expect((5...10).contains(receipt.headers.count))
        }

        // MARK: Ends

        @Test func cancellingATaskEndsItsRequest() async throws {
            let server = try ScriptedServer { connection in
                _ = connection.readRequest()
                connection.hold()
            }
            let destination = try makeDestination()
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

        // Also longer than can be slept for.
        @Test(arguments: [Duration.seconds(60), .seconds(Int64.max), Duration(attoseconds: .max)])
        func closingWaitsForTheRequestsThatWereGiven(time: Duration) async throws {
            let door = Door()
            let server = try ScriptedServer { connection in
                while connection.readRequest() != nil {
                    door.wait()
                    connection.write(ScriptedServer.answer(200))
                }
            }
            let destination = try makeDestination()
            let url = try HTTPURL(server.url)
            async let results = destination.send(contentsOf: (0..<3).map { _ in HTTPMessage(to: url, key: "k") })
            await waitUntil { server.requests.count == 1 }
            async let summary = destination.close(within: time)
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
            let destination = try makeDestination { $0.maximumConcurrentRequests = 2 }
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
            var destination: HTTPDestination? = try makeDestination()
            try await destination?.send(HTTPMessage(to: HTTPURL(server.url)))
            destination = nil
            await waitUntil { gone.withLock { $0 } }
        }

        @Test func aConnectionThatTheServerClosedMeanwhileIsReplaced() async throws {
            let server = try ScriptedServer { connection in
                if connection.readRequest() != nil { connection.write(ScriptedServer.answer(200)) }
            }
            let destination = try makeDestination()
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
