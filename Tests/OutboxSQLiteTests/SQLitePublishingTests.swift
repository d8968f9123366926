#if SQLite
    import GRDB
    import Logging
    import OutboxDelivery
    import OutboxSQLite
    import Synchronization
    import Testing

    /// The publisher over SQLite, from the commit to the destination.
    @Suite(.timeLimit(.minutes(5))) struct SQLitePublishingTests {
        /// A destination that a test tells what to answer, and that notes what it was given.
        final class Recorder: OutboxDestination {
            private let state = Mutex<(given: [String], accepted: [String])>(([], []))
            private let answer: @Sendable (OutboxEvent, Int) -> OutboxOutcome

            /// - Parameter answer: Gets an event, and how often it was given before.
            init(
                _ answer: @escaping @Sendable (OutboxEvent, Int) -> OutboxOutcome = { _, _ in
                    .accepted(OutboxReceipt(place: ""))
                }
            ) {
                self.answer = answer
            }

            var accepted: [String] { state.withLock { $0.accepted } }
            var given: [String] { state.withLock { $0.given } }

            func publish(_ batch: [OutboxEvent]) async -> [OutboxOutcome] {
                var stopped: Set<[UInt8]> = []
                return batch.map { event in
                    if let key = event.message.key, stopped.contains(key) { return .unavailable(reason: "waits") }
                    let text = [event].texts[0]
                    let before = state.withLock { state in
                        defer { state.given.append(text) }
                        return state.given.filter { $0 == text }.count
                    }
                    let outcome = answer(event, before)
                    if outcome.isAccepted {
                        state.withLock { $0.accepted.append(text) }
                    } else if let key = event.message.key {
                        stopped.insert(key)
                    }
                    return outcome
                }
            }
        }

        /// - Returns: What was told to be parked.
        @discardableResult
        private func publishing(
            _ outbox: SQLiteOutbox,
            _ destinations: [String: any OutboxDestination],
            givingUp: OutboxRetry.Giving = .parkKey,
            _ body: () async throws -> Void
        ) async throws -> [String] {
            var configuration = OutboxPublisher.Configuration()
            configuration.retry.delay = .milliseconds(5)
            configuration.retry.givingUp = givingUp
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let publisher = OutboxPublisher(
                store: outbox,
                destinations: destinations,
                configuration: configuration,
                logger: logger
            )
            async let run: Void = publisher.run()
            do {
                try await body()
            } catch {
                await publisher.close(within: .zero)
                throw error
            }
            let report = await publisher.close(within: .seconds(10))
            try await run
            // They are kept until they are read.
            var parked: [String] = []
            for await event in publisher.events {
                if case .parked(let event, let reason, let attempts) = event {
                    parked.append("\([event].texts[0]), \(attempts): \(reason)")
                }
            }
            #expect(report.parked == parked.count)
            return parked
        }

        @Test func whatIsCommittedIsDeliveredInTheOrderOfEachKeyAndDeleted() async throws {
            let service = try await Service()
            let recorder = Recorder()
            for number in 0..<100 { try await service.store(.of("k\(number % 7)", "\(number)")) }
            try await publishing(service.outbox, ["kafka": recorder]) {
                for number in 100..<200 { try await service.store(.of("k\(number % 7)", "\(number)")) }
                try await waitUntil { recorder.accepted.count >= 200 }
                try await waitUntil { try await service.outbox.status().backlog == 0 }
            }
            #expect(recorder.accepted.count == 200)
            for key in 0..<7 {
                let numbers = recorder.accepted.compactMap { Int($0) }.filter { $0 % 7 == key }
                #expect(numbers == numbers.sorted())
            }
        }

        @Test func aPoisonEventStopsItsKeyOnlyAndResumingKeepsTheOrder() async throws {
            let service = try await Service()
            let isMended = Mutex(false)
            let recorder = Recorder { event, _ in
                [event].texts == ["bad"] && !isMended.withLock { $0 }
                    ? .rejected(reason: "no", isRetriable: true) : .accepted(OutboxReceipt(place: ""))
            }
            try await publishing(service.outbox, ["kafka": recorder]) {
                try await service.store(.of("a", "bad"), .of("a", "2"), .of("b", "3"))
                try await waitUntil { try await service.outbox.status().parkedCount == 2 }
                try await service.store(.of("a", "4"), .of("b", "5"))
                try await waitUntil { recorder.accepted.contains("5") }
                #expect(recorder.accepted == ["3", "5"])
                #expect(recorder.given.filter { $0 == "bad" }.count == 3)
                isMended.withLock { $0 = true }
                _ = try await service.outbox.decide(.resume, .key(Array("a".utf8)))
                try await waitUntil { recorder.accepted.count == 5 }
            }
            #expect(recorder.accepted.filter { ["bad", "2", "4"].contains($0) } == ["bad", "2", "4"])
            #expect(try await service.outbox.status().parkedCount == 0)
        }

        @Test func aRowThatCannotBeReadIsToldAndParkedWithItsKeyAndNothingBehindItIsSentBeforeIt() async throws {
            let service = try await Service()
            let recorder = Recorder()
            let ids = try await service.store(.of("a", "bad"), .of("a", "2"), .of("b", "3"))
            try await service.breakHeaders(ids[0])
            let told = try await publishing(service.outbox, ["kafka": recorder]) {
                try await waitUntil { try await service.outbox.status().parkedCount == 2 }
                try await waitUntil { recorder.accepted.contains("3") }
                #expect(recorder.given == ["3"])
                try await service.mendHeaders()
                _ = try await service.outbox.decide(.resume, .all)
                try await waitUntil { recorder.accepted.count == 3 }
            }
            #expect(recorder.given == ["3", "bad", "2"])
            #expect(told.count == 1)
            #expect(told.allSatisfy { $0.hasPrefix("bad, 1: ") && $0.contains("headers") })
            #expect(try await service.outbox.status().parkedCount == 0)
        }

        @Test func aRowThatCannotBeReadIsParkedAloneWhereEventsAreSkipped() async throws {
            let service = try await Service()
            let recorder = Recorder()
            let ids = try await service.store(.of("a", "bad"), .of("a", "2"))
            try await service.breakHeaders(ids[0])
            let told = try await publishing(service.outbox, ["kafka": recorder], givingUp: .skip) {
                try await waitUntil {
                    let count = try await service.outbox.status().parkedCount
                    return recorder.accepted == ["2"] || count == 2
                }
            }
            #expect(recorder.given == ["2"])
            #expect(told.count == 1)
            #expect(try await service.outbox.parked(key: nil, limit: 10).map(\.event).texts == ["bad"])
        }

        @Test func whatIsBeforeARowThatCannotBeReadIsDeliveredOnceItsDestinationIsBack() async throws {
            let service = try await Service()
            let isBack = Mutex(false)
            let recorder = Recorder { _, _ in
                isBack.withLock { $0 } ? .accepted(OutboxReceipt(place: "")) : .unavailable(reason: "away")
            }
            let ids = try await service.store(.of("a", "1"), .of("a", "bad"))
            try await service.breakHeaders(ids[1])
            try await publishing(service.outbox, ["kafka": recorder]) {
                // It is read more than once while its destination is away, and what is behind it is not parked before it went.
                try await waitUntil {
                    let count = try await service.outbox.status().parkedCount
                    return recorder.given.count >= 3 || count > 0
                }
                #expect(try await service.outbox.status().parkedCount == 0)
                isBack.withLock { $0 = true }
                try await waitUntil { try await service.outbox.status().parkedCount > 0 }
            }
            #expect(recorder.accepted == ["1"])
            #expect(try await service.outbox.parked(key: nil, limit: 10).map(\.event).texts == ["bad"])
        }

        @Test func anUnknownOutcomeIsSentAgainAndNeverParked() async throws {
            let service = try await Service()
            let recorder = Recorder { _, before in
                before < 6 ? .unknown(reason: "cut") : .accepted(OutboxReceipt(place: ""))
            }
            try await publishing(service.outbox, ["kafka": recorder]) {
                try await service.store(.of("a", "1"), .of("a", "2"))
                try await waitUntil { recorder.accepted.count == 2 }
            }
            #expect(recorder.accepted == ["1", "2"])
            #expect(try await service.outbox.status().parkedCount == 0)
        }

        @Test func aDestinationThatIsAwayStallsNoOther() async throws {
            let service = try await Service()
            let away = Recorder { _, _ in .unavailable(reason: "away") }
            let recorder = Recorder()
            try await publishing(service.outbox, ["kafka": recorder, "hooks": away]) {
                for number in 0..<20 {
                    try await service.store(.of("a", "h\(number)", to: "hooks"), .of("a", "\(number)"))
                }
                try await waitUntil { recorder.accepted.count == 20 }
            }
            #expect(recorder.accepted == (0..<20).map(String.init))
            #expect(try await service.outbox.status().waiting.map(\.destination) == ["hooks"])
            #expect(try await service.outbox.status().parkedCount == 0)
        }

        // It lost its session while it closes, and takes no lease any more.
        @Test func whatIsConfirmedIsDeletedAlsoByASessionThatTakesNoLeaseWhileNoOtherHasIt() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(.of("a", "1"), .of("b", "2"), .of("c", "3"))
            let events = try await session.all()
            await session.close()
            let closing = try await service.outbox.openSession()
            #expect(try await closing.leave(busy: []).slots.isEmpty)
            try await closing.accept([events[0]])
            #expect(await #expect(throws: OutboxError.self) { try await closing.park(events[1]) }?.kind == .fenced)
            let next = try await SQLiteOutbox(service.file.open()).openSession()
            try await waitUntil { try await next.balance(busy: []).slots.count == 32 }
            #expect(await #expect(throws: OutboxError.self) { try await closing.accept(events) }?.kind == .fenced)
            #expect(try await next.all().texts == ["2", "3"])
        }

        @Test func aPublisherThatEndsHandsOverToTheOneThatStandsBy() async throws {
            let service = try await Service()
            let (first, second) = (Recorder(), Recorder())
            let other = try SQLiteOutbox(service.file.open())
            try await publishing(service.outbox, ["kafka": first]) {
                try await service.store(.of("a", "1"))
                try await waitUntil { first.accepted == ["1"] }
            }
            try await publishing(other, ["kafka": second]) {
                try await service.store(.of("a", "2"))
                try await waitUntil { second.accepted == ["2"] }
            }
            #expect(first.accepted == ["1"])
        }
    }
#endif
