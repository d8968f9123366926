#if HTTP
    import Foundation
    import HTTPDelivery
    import OutboxDelivery
    import OutboxHTTP
    import Synchronization
    import Testing

    @Suite(.timeLimit(.minutes(5))) struct HTTPOutboxDestinationTests {
        private func event(_ number: Int64, _ change: (inout OutboxMessage) -> Void = { _ in }) -> OutboxEvent {
            var message = OutboxMessage(destination: "hooks", topic: "tasks/\(number)", key: nil, payload: "p\(number)")
            change(&message)
            return OutboxEvent(
                id: OutboxEvent.ID(slot: 0, number: number),
                createdAt: Date(timeIntervalSince1970: 1_500),
                message: message
            )
        }

        private func destination(_ server: ScriptedServer, _ path: String = "{/topic*}") throws -> HTTPOutboxDestination
        {
            try HTTPOutboxDestination(patient(), url: HTTPURLTemplate(server.url + path))
        }

        /// Waits for a server on a busy machine.
        private func patient() throws -> HTTPDestination {
            try makeDestination { configuration in
                configuration.connectTimeout = .seconds(100)
                configuration.readTimeout = .seconds(100)
                configuration.requestTimeout = .seconds(200)
            }
        }

        @Test func anEventIsARequestWithItsIdempotencyKey() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(202) }
            let event = event(42) { message in
                message.key = [0xFF]
                message.headers = [OutboxHeader("X-Trace", "t"), OutboxHeader("X-None", nil)]
                message.attributes = ["method": "PUT"]
                message.idempotencyKey = "ik"
            }
            let outcomes = try await destination(server).publish([event])
            #expect(outcomes == [.accepted(OutboxReceipt(place: server.url + "/…", position: 202))])
            let request = try #require(server.requests.first)
            #expect(request.method == "PUT")
            #expect(request.target == "/tasks/42")
            #expect(request.body == Array("p42".utf8))
            #expect(request.header("Idempotency-Key") == "ik")
            #expect(request.header("Outbox-Id") == "42")
            #expect(request.header("Outbox-Created-At") == "1500.0")
            #expect(request.header("X-Trace") == "t")
            #expect(request.header("X-None") == nil)
            #expect(request.header("Content-Type") == "application/json")
        }

        @Test func aTemplateTakesItsValuesFromTheEvent() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(200) }
            let template = "/{topic}/{key}?h={header.kind}&a={attribute.region}&i={idempotencyKey}"
            let event = event(1) { message in
                message.key = Array("k/1".utf8)
                message.headers = [OutboxHeader("kind", "a&b")]
                message.attributes = ["region": "eu"]
                message.idempotencyKey = "i"
            }
            let outcomes = try await destination(server, template).publish([event, self.event(2)])
            #expect(server.requests.map(\.target) == ["/tasks%2F1/k%2F1?h=a%26b&a=eu&i=i"])
            // The second has no key.
            guard case .rejected(let reason, false, nil)? = outcomes.last else {
                return #expect(Bool(false), "\(outcomes)")
            }
            #expect(reason.contains("{key}"))
        }

        @Test func anEventThatIsNoRequestIsRejectedAndReachesNoServer() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(200) }
            let events = [
                event(1) { $0.headers = [OutboxHeader("X", "a\r\nEvil: 1")] },
                event(2) { $0.headers = [OutboxHeader("X", [0xFF])] },
                event(3) { $0.topic = "../admin" }, event(4) { $0.attributes = ["method": "GET /x"] },
                event(5) { $0.headers = [OutboxHeader("Host", "elsewhere")] },
            ]
            for outcome in try await destination(server).publish(events) {
                guard case .rejected(_, false, nil) = outcome else { return #expect(Bool(false), "\(outcome)") }
            }
            #expect(server.connectionCount == 0)
        }

        @Test func eventsOfAKeyThatFailedKeepTheirFollowersBackAndNoOthers() async throws {
            let server = try ScriptedServer.answering { ScriptedServer.answer($0.target == "/tasks/1" ? 500 : 200) }
            let events = [("a", 0), ("a", 1), ("b", 2), ("a", 3), ("b", 4)].map { key, number in
                event(Int64(number)) { $0.key = Array(key.utf8) }
            }
            let outcomes = try await destination(server).publish(events)
            #expect(outcomes.map(\.isAccepted) == [true, false, true, false, true])
            guard case .rejected(_, true, _) = outcomes[1], case .unavailable = outcomes[3] else {
                return #expect(Bool(false), "\(outcomes)")
            }
            #expect(Set(server.requests.map(\.target)) == ["/tasks/0", "/tasks/1", "/tasks/2", "/tasks/4"])
        }

        @Test func anAnswerIsOneOfTheOutcomes() async throws {
            let server = try ScriptedServer.answering { request in
                let status = Int(request.target.dropFirst("/tasks/".count)) ?? 0
                return ScriptedServer.answer(status, status == 503 ? ["Retry-After: 2"] : [])
            }
            var destination = try destination(server)
            func kinds(_ statuses: [Int64]) async -> [String] {
                await destination.publish(statuses.map { event($0) }).map { outcome in
                    switch outcome {
                    case .accepted: "accepted"
                    case .rejected(_, let isRetriable, _): isRetriable ? "retriable" : "rejected"
                    case .unroutable: "unroutable"
                    case .unknown: "unknown"
                    case .unavailable(_, let wait): "unavailable" + (wait.map { " \($0)" } ?? "")
                    }
                }
            }
            #expect(
                await kinds([200, 204, 301, 400, 401, 404, 408, 410, 425, 429, 500, 502, 503, 504, 599]) == [
                    "accepted", "accepted", "rejected", "rejected", "unavailable", "unroutable", "retriable",
                    "unroutable",
                    "retriable",
                    "unavailable", "retriable", "unavailable", "unavailable 2.0 seconds", "unavailable", "retriable",
                ]
            )
            destination.unavailableStatuses.remove(401)
            #expect(await kinds([401, 403]) == ["rejected", "unavailable"])
        }

        // What is confirmed is deleted when all of its batch has an answer: a crash repeats no more than a few.
        @Test func aBatchIsAFewRoundsOfRequests() throws {
            let http = try HTTPDestination()
            var destination = HTTPOutboxDestination(http) { _ in HTTPMessage(to: try HTTPURL("http://localhost/")) }
            #expect(destination.maximumBatchCount == 64)
            for (concurrent, count) in [(3, 12), (0, 4), (.min, 4), (.max, 40_000)] {
                destination.maximumConcurrentRequests = concurrent
                #expect(destination.maximumBatchCount == count)
            }
        }

        @Test func aServerThatIsAwayKeepsNoPlaceFromOthersOfTheSameDestination() async throws {
            let away = try ScriptedServer { connection in _ = connection.readRequest() }
            let there = try ScriptedServer.answering { _ in ScriptedServer.answer(200) }
            var destination = HTTPOutboxDestination(try patient()) { event in
                HTTPMessage(to: try HTTPURL((event.id.number < 10 ? away : there).url + "/"))
            }
            destination.maximumConcurrentRequests = 1
            #expect(destination.hasManyPlaces)
            #expect(destination.place(of: event(5)) == away.url && destination.place(of: event(10)) == there.url)
            let outcomes = await destination.publish((5..<15).map { event($0) })
            #expect(outcomes.map(\.isAccepted) == (5..<15).map { $0 >= 10 })
            // Three were sent and had no answer. Nothing is sent for the others, but for one each time that the server is tried again: on a
            // machine that is slow that may be while they are asked for.
            let sent = away.connectionCount
            #expect(sent >= 3)
            var unknown = 0
            for outcome in outcomes[..<5] {
                switch outcome {
                case .unknown: unknown += 1
                case .unavailable(let reason, let wait?):
                    #expect(reason == "\(away.url) is away" && wait > .zero)
                    // Each time that it was tried again in vain the pause is longer.
                    if sent == 3 { #expect(wait <= .milliseconds(100)) }
                default: Issue.record("\(outcome)")
                }
            }
            #expect(unknown == sent)
            #expect(try !self.destination(there).hasManyPlaces)
            #expect(try self.destination(there).place(of: event(5)) == nil)
        }

        @Test func anEventThatIsNoRequestSaysNothingAboutItsServer() async throws {
            let server = try ScriptedServer.answering { _ in ScriptedServer.answer(503, ["Retry-After: 30"]) }
            var destination = HTTPOutboxDestination(try patient()) { event in
                let headers = event.id.number == 2 ? [HTTPHeader("Host", "other")] : []
                return HTTPMessage(to: try HTTPURL(server.url + "/"), headers: headers)
            }
            destination.maximumConcurrentRequests = 1
            let outcomes = await destination.publish((0..<5).map { event($0) })
            guard case .rejected(_, isRetriable: false, _) = outcomes[2] else {
                return #expect(Bool(false), "\(outcomes[2])")
            }
            // The three that were sent came one after the other, with no answer that says that it is there.
            #expect(server.requests.count == 3)
            guard case .unavailable(let reason, _?) = outcomes[4] else {
                return #expect(Bool(false), "\(outcomes[4])")
            }
            #expect(reason == "\(server.url) is away")
        }

        // Of many webhooks on one server, those of a customer whose token has expired, or who gets too much, wait, and no others.
        @Test(arguments: [401, 403, 429])
        func anAnswerAboutTheSenderKeepsNoOtherEventFromItsServer(_ status: Int) async throws {
            let server = try ScriptedServer.answering { request in
                ScriptedServer.answer(request.target == "/refused" ? status : 200, ["Retry-After: 30"])
            }
            var destination = HTTPOutboxDestination(try patient()) { event in
                HTTPMessage(to: try HTTPURL(server.url + (event.id.number < 5 ? "/refused" : "/")))
            }
            destination.maximumConcurrentRequests = 1
            let outcomes = await destination.publish((0..<10).map { event($0) })
            #expect(outcomes.map(\.isAccepted) == (0..<10).map { $0 >= 5 })
            // Each was sent, has its own answer, and is tried again for as long as it takes.
            #expect(server.requests.count == 10)
            for outcome in outcomes[..<5] {
                guard case .unavailable(let reason, let wait) = outcome else {
                    return #expect(Bool(false), "\(outcome)")
                }
                #expect(reason.contains("\(status)") && wait == (status == 429 ? .seconds(30) : nil))
            }
        }

        @Test(arguments: [502, 503, 504])
        func aServerThatSaysThatItIsAwayIsAskedNoMoreAfterThreeTimes(_ status: Int) async throws {
            let server = try ScriptedServer.answering { _ in
                ScriptedServer.answer(status, ["Retry-After: 30"])
            }
            var destination = HTTPOutboxDestination(try patient()) { _ in
                HTTPMessage(to: try HTTPURL(server.url + "/"))
            }
            destination.maximumConcurrentRequests = 1
            let outcomes = await destination.publish((0..<4).map { event($0) })
            guard case .unavailable(let reason, _?) = outcomes[3] else { return #expect(Bool(false), "\(outcomes)") }
            #expect(reason == "\(server.url) is away" && server.requests.count == 3)
        }

        @Test func silenceAfterTheRequestIsUnknownAndARefusedConnectionIsUnavailable() async throws {
            let server = try ScriptedServer { connection in _ = connection.readRequest() }
            let destination = try destination(server)
            guard case .unknown? = await destination.publish([event(1)]).first else { return #expect(Bool(false)) }
            server.close()
            guard case .unavailable? = await destination.publish([event(1)]).first else { return #expect(Bool(false)) }
        }
    }
#endif
