#if SQLite
    import GRDB
    import OutboxDelivery
    import OutboxSQLite
    import Testing

    /// What is taken out of the order, and what a person decides about it.
    @Suite(.timeLimit(.minutes(5))) struct SQLiteParkingTests {
        @Test func aParkedEventHoldsItsKeyBackAndNoOther() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(
                .of("a", "1"),
                .of("b", "2"),
                .of("a", "3"),
                .of(nil, "4"),
                .of("a", "x", to: "http")
            )
            let events = try await session.all()
            #expect(try await session.park(events[0], reason: "re\0fused") == 2)
            #expect(try await session.all().texts == ["2", "4"])
            // Later ones wait with it.
            try await service.store(.of("a", "5"), .of("b", "6"))
            #expect(try await session.all().texts == ["2", "4", "6"])
            #expect(try await session.all("http").texts == ["x"])
            let parked = try await service.outbox.parked(key: Array("a".utf8), limit: 10)
            #expect(parked.map(\.event).texts == ["1", "3", "5"])
            #expect(parked.map(\.attempts) == [3, 0, 0])
            #expect(parked.first?.reason == "refused")
            let status = try await service.outbox.status()
            #expect(status.parkedCount == 3)
            #expect(status.parkedKeyCount == 1)
        }

        @Test func aKeyThatIsResumedKeepsItsOrder() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(.of("a", "1"), .of("a", "2"), .of("b", "3"))
            try await session.park(session.all()[0])
            #expect(try await service.outbox.decide(.resume, .key(Array("a".utf8))) == 2)
            try await service.store(.of("a", "4"))
            var events = try await session.all()
            #expect(events.texts == ["1", "2", "3"])
            #expect(events.map(\.origin) == [.parked, .parked, .outbox])
            try await session.accept([events[0]])
            // What was written meanwhile comes after what was parked.
            events = try await session.all()
            #expect(events.texts == ["2", "3", "4"])
            try await session.accept(events)
            #expect(try await service.outbox.status().parkedCount == 0)
            try await service.store(.of("a", "5"))
            #expect(try await session.all().map(\.origin) == [.outbox])
        }

        @Test func aResumedEventThatFailsAgainHoldsItsKeyBackAgain() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(.of("a", "1"), .of("a", "2"))
            try await session.park(session.all()[0])
            _ = try await service.outbox.decide(.resume, .all)
            let resumed = try await session.all()
            #expect(resumed.texts == ["1", "2"])
            try await session.park(resumed[0], reason: "again")
            #expect(try await session.all().isEmpty)
            let parked = try await service.outbox.parked(key: nil, limit: 10)
            #expect(parked.map(\.reason).first == "again")
            #expect(parked.allSatisfy { $0.action == nil })
        }

        @Test func aResumedKeyThatWaitsForARetryIsLeftOut() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "1"), .of("a", "2"))
            try await session.park(session.all()[0])
            _ = try await service.outbox.decide(.resume, .all)
            try await service.store(.of("a", "3"))
            #expect(try await session.all { $0.withheldKeys[ids[0].slot] = [Array("a".utf8)] }.isEmpty)
            let resumed = try await session.all()
            #expect(resumed.texts == ["1", "2"])
            try await session.accept(resumed)
            // What was written meanwhile comes after them.
            #expect(try await session.all().texts == ["3"])
        }

        @Test(arguments: [[OutboxParkedAction.discard, .resume], [.resume, .discard]])
        func discardingTheOneThatFailedAndResumingItsKeySkipsIt(_ actions: [OutboxParkedAction]) async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "bad"), .of("a", "2"), .of("a", "3"))
            try await session.park(session.all()[0])
            for action in actions {
                let selection = action == .discard ? OutboxParkedSelection.event(ids[0]) : .key(Array("a".utf8))
                let isFirst = action == actions[0]
                #expect(
                    try await service.outbox.decide(action, selection)
                        == (action == .discard ? 1 : isFirst ? 3 : 2)
                )
            }
            #expect(try await session.all().texts == ["2", "3"])
            #expect(try await service.outbox.decide(.discard, .all) == 2)
            #expect(try await session.all().isEmpty)
            #expect(try await service.outbox.status().parkedCount == 0)
        }

        @Test func oneThatFollowsIsNotSentBeforeTheOneThatHoldsItsKey() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "1"), .of("a", "2"), .of("a", "3"), .of("b", "4"))
            try await session.park(session.all()[0])
            #expect(try await service.outbox.decide(.resume, .event(ids[1])) == 1)
            #expect(try await session.all().texts == ["4"])
            #expect(try await service.outbox.decide(.resume, .event(ids[0])) == 1)
            #expect(try await session.all().texts == ["1", "2", "4"])
        }

        @Test func whatWasDiscardedWhileItWasAtItsDestinationStaysSo() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "1"), .of("a", "2"))
            try await session.park(session.all()[0])
            _ = try await service.outbox.decide(.resume, .all)
            let resumed = try await session.all()
            _ = try await service.outbox.decide(.discard, .event(ids[0]))
            #expect(try await session.park(resumed[0], reason: "again") == 0)
            // What was resumed with it goes on, also behind one that is gone.
            #expect(try await session.all().texts == ["2"])
            #expect(try await session.park(resumed[0], reason: "again") == 0)
            #expect(try await session.all().texts == ["2"])
        }

        @Test func anEventThatIsSkippedLetsItsFollowersGoOn() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(.of("a", "bad"), .of("a", "2"))
            #expect(try await session.park(session.all()[0], withFollowers: false) == 1)
            #expect(try await session.all().texts == ["2"])
            try await service.store(.of("a", "3"))
            #expect(try await session.all().texts == ["2", "3"])
        }

        // MARK: Rows that cannot be read

        @Test func aRowThatCannotBeReadIsParkedWithWhatFollowsItAndNothingThatIsBeforeIt() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "1"), .of("a", "bad"), .of("a", "2"), .of("b", "3"))
            try await service.breakHeaders(ids[1])
            let events = try await session.all()
            #expect(events.texts == ["1", "bad", "2", "3"])
            #expect(events.map { $0.defect != nil } == [false, true, false, false])
            #expect(try await session.parkDefects(events) == 2)
            // The one before it stays where it is, however often it is read: its destination may be away for long.
            for _ in 0..<3 { #expect(try await session.all().texts == ["1", "3"]) }
            try await service.store(.of("a", "4"))
            #expect(try await session.all().texts == ["1", "3"])
            let parked = try await service.outbox.parked(key: Array("a".utf8), limit: 10)
            #expect(parked.map(\.event).texts == ["bad", "2", "4"])
            #expect(parked.map(\.attempts) == [1, 0, 0])

            try await session.accept(session.all())
            try await service.mendHeaders()
            _ = try await service.outbox.decide(.resume, .all)
            let resumed = try await session.all()
            #expect(resumed.texts == ["bad", "2", "4"])
            #expect(resumed.allSatisfy { $0.defect == nil && $0.origin == .parked })
        }

        @Test func aResumedRowThatStillCannotBeReadHoldsItsKeyBackAgain() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "bad"), .of("a", "2"), .of("a", "worse"), .of("a", "4"))
            for id in [ids[0], ids[2]] { try await service.breakHeaders(id) }
            #expect(try await session.parkDefects(session.all()) == 4)
            _ = try await service.outbox.decide(.resume, .all)
            try await service.store(.of("a", "5"))
            let resumed = try await session.all()
            // Nothing was decided by reading: those behind it are to be sent still.
            #expect(resumed.texts.starts(with: ["bad", "2", "worse", "4"]))
            #expect(resumed.map { $0.defect != nil }.starts(with: [true, false, true, false]))
            try await session.parkDefects(resumed)
            #expect(try await session.all().isEmpty)
            let parked = try await service.outbox.parked(key: nil, limit: 10)
            #expect(parked.map(\.event).texts == ["bad", "2", "worse", "4", "5"])
            #expect(parked.allSatisfy { $0.action == nil })
        }

        @Test func aRowThatCannotBeReadAndIsSkippedLetsItsFollowersGoOn() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "bad"), .of("a", "2"))
            try await service.breakHeaders(ids[0])
            for origin in [OutboxEvent.Origin.outbox, .parked] {
                let events = try await session.all()
                #expect(events.texts == ["bad", "2"])
                #expect(events.first?.origin == origin)
                #expect(try await session.parkDefects(events, withFollowers: false) == 1)
                #expect(try await session.all().texts == ["2"])
                _ = try await service.outbox.decide(.resume, .all)
            }
        }

        @Test func parkingWhatIsGoneParksNothing() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(.of("a", "1"))
            let events = try await session.all()
            try await session.accept(events)
            #expect(try await session.park(events[0]) == 0)
            #expect(try await service.outbox.status().parkedCount == 0)
        }
    }
#endif
