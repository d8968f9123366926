#if SQLite
    import Dispatch
    import GRDB
    import OutboxDelivery
    import OutboxSQLite
    import Synchronization
    import Testing

    @Suite(.timeLimit(.minutes(5))) struct SQLiteSessionTests {
        // MARK: Reading

        @Test func rowsOfASlotComeInOrderUpToTheLimit() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            for number in 0..<50 { try await service.store(.of("a", "\(number)")) }
            let slot = OutboxSlot.of(.of("a", ""))
            let first = try await session.all { ($0.slots, $0.limitPerSlot) = ([slot], 10) }
            #expect(first.texts == (0..<10).map(String.init))
            try await session.accept(first)
            #expect(try await session.all(limit: 5).texts == (10..<15).map(String.init))
            #expect(try await session.all { $0.slots = [(slot + 1) % 32] }.isEmpty)
            #expect(try await session.all { $0.slots = [] }.isEmpty)
        }

        @Test func aReadIsForOneDestination() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            try await service.store(.of("a", "1"), .of("a", "2", to: "http"), .of("a", "3"))
            #expect(try await session.all("kafka").texts == ["1", "3"])
            #expect(try await session.all("http").texts == ["2"])
            #expect(try await session.all("rabbit").isEmpty)
        }

        @Test func keysAndRowsThatWaitForARetryAreLeftOut() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let ids = try await service.store(.of("a", "1"), .of("b", "2"), .of("a", "3"), .of(nil, "4"), .of(nil, "5"))
            let left = try await session.all { request in
                request.withheldKeys[ids[0].slot] = [Array("a".utf8)]
                request.withheldNumbers[ids[3].slot] = [ids[3].number, ids[1].number]
            }
            #expect(left.texts == ["2", "5"])
        }

        @Test func aReadStopsAtItsBytesButForTheFirstOfASlot() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let large = String(repeating: "x", count: 10_000)
            for _ in 0..<10 { try await service.store(.of("a", large)) }
            try await service.store(.of("b", "other"))
            let slots = [OutboxSlot.of(.of("a", "")), OutboxSlot.of(.of("b", ""))]
            // Each has a share, of which what is before it takes nothing.
            for slots in [slots, slots.reversed()] {
                let events = try await session.all { ($0.slots, $0.maximumBytes) = (slots, 50_000) }
                #expect(events.count(where: { $0.message.key == Array("a".utf8) }) == 3)
                #expect(events.texts.contains("other"))
                #expect(try await session.all { ($0.slots, $0.maximumBytes) = (slots, 1) }.count == 2)
            }
        }

        @Test func aReadLooksAtNoRowBehindItsBytes() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let slot = OutboxSlot.of(.of("a", ""))
            let names = (0..<10_000).map { "b\($0)" }
            let other = try #require(names.first(where: { OutboxSlot.of(.of($0, "")) == slot }))
            try await service.store(.of(other, "parked"))
            try await session.park(session.all()[0])
            for _ in 0..<4 { try await service.store(.of("a", String(repeating: "x", count: 10_000))) }
            // A row that follows a parked one is parked where it is seen.
            try await service.store(.of(other, "follows"))
            let events = try await session.all { ($0.slots, $0.maximumBytes) = ([slot], 25_000) }
            #expect(events.count == 3)
            #expect(try await service.outbox.status().parkedCount == 1)
            try await session.accept(events)
            #expect(try await session.all().count == 1)
            #expect(try await service.outbox.status().parkedCount == 2)
        }

        @Test func idsAreNeverUsedAgain() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let first = try await service.store(.of("a", "1"))
            try await session.accept(session.all())
            let second = try await service.store(.of("a", "2"))
            #expect(first[0].number < second[0].number)
        }

        // In a file that was restored for instance, another row has its number.
        @Test func whatAnEarlierSessionReadIsDeletedOnlyWhereItIsThatRow() async throws {
            let service = try await Service { $0.archiveDays = 2 }
            try await service.store(.of("a", "1"), .of("a", "2"))
            let session = try await service.publishing()
            let events = try await session.all()
            #expect(events.texts == ["1", "2"])
            var settlement = OutboxSettlement()
            var message = events[0].message
            message.idempotencyKey = "another"
            let other = OutboxEvent(id: events[0].id, createdAt: events[0].createdAt, message: message)
            settlement.accepted = [other, events[1]]
            settlement.isOfEarlierSession = true
            try await session.settle(settlement)
            #expect(try await session.all().texts == ["1"])
        }

        @Test func maintainingSaysHowMuchWaits() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            #expect(try await session.maintain().backlog == 0)
            for number in 0..<5 { try await service.store(.of("a", "\(number)")) }
            let found = try await session.maintain()
            #expect(found.backlog == 5)
            #expect(found.oldestAge.map { $0 >= .zero && $0 < .seconds(60) } == true)
        }

        @Test func maintainingSaysForWhichDestinationsRowsWait() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            #expect(try await session.maintain().destinations.isEmpty)
            for key in ["a", "b", "c", nil] {
                for name in ["kafka", "a'b", "rabbit"] { try await service.store(.of(key, "1", to: name)) }
            }
            #expect(try await session.maintain().destinations == ["a'b", "kafka", "rabbit"])
        }

        // MARK: The lease

        @Test func oneSessionHasAllSlotsAndOthersStandBy() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let other = try SQLiteOutbox(service.file.open())
            let standby = try await other.openSession()
            #expect(try await standby.balance(busy: []) == OutboxShare(slots: [], publishers: 2))
            #expect(try await session.balance(busy: []).slots == Set(0..<32))
            let status = try await service.outbox.status()
            #expect(status.publishers.map(\.slots) == [Array(0..<32)])
            #expect(status.publishers.first?.name == SQLiteOutbox.Configuration().publisherName)

            await session.close()
            // Closing waits for the database no longer than a second.
            try await waitUntil { try await standby.balance(busy: []).slots == Set(0..<32) }
            await #expect(throws: OutboxError.self) { try await session.balance(busy: []) }
        }

        @Test func aPublisherThatClosesKeepsItsLeaseAndTakesNoOther() async throws {
            let service = try await Service()
            let closing = try await SQLiteOutbox(service.file.open()).openSession()
            #expect(try await closing.leave(busy: []).slots.isEmpty)
            let session = try await service.publishing()
            #expect(try await session.leave(busy: [3]).slots == Set(0..<32))
            #expect(try await closing.leave(busy: []).slots.isEmpty)
            await session.close()
            #expect(try await closing.leave(busy: []).slots.isEmpty)
            await closing.close()
        }

        @Test func aPublisherThatSaysNothingIsTakenOverAndCanChangeNothingMore() async throws {
            let service = try await Service { $0.lease = .seconds(3) }
            let stopped = try await service.publishing()
            try await service.store(.of("a", "1"), .of("b", "2"))
            let read = try await stopped.all()
            var configuration = SQLiteOutbox.Configuration()
            // So that its own does not run out in its turn.
            configuration.lease = .seconds(600)
            let next = try await SQLiteOutbox(service.file.open(), configuration).openSession()
            try await waitUntil { try await next.balance(busy: []).slots.count == 32 }

            // It goes on.
            for attempt in [
                { try await stopped.accept(read) }, { _ = try await stopped.park(read[0]) },
                { _ = try await stopped.all() },
            ]
                as [@Sendable () async throws -> Void]
            {
                #expect(await #expect(throws: OutboxError.self) { try await attempt() }?.kind == .fenced)
            }
            #expect(try await next.balance(busy: []).slots.count == 32)
            #expect(try await stopped.balance(busy: []).slots.isEmpty)
            await stopped.close()
            #expect(try await next.all().texts == ["1", "2"])
            #expect(try await service.outbox.status().parkedCount == 0)
        }

        @Test func aPublisherThatWasLateButNotReplacedGoesOn() async throws {
            let service = try await Service { $0.lease = .seconds(1) }
            let session = try await service.publishing()
            try await service.store(.of("a", "1"))
            let read = try await session.all()
            try await service.database.write { try $0.execute(sql: "UPDATE outbox_lease SET until = 1") }
            try await session.accept(read)
            #expect(try await session.balance(busy: []).slots.count == 32)
        }

        @Test func aLeaseFromTheFutureIsFree() async throws {
            let service = try await Service()
            try await service.database.write { db in
                try db.execute(sql: "UPDATE outbox_lease SET owner = 'clock set back since', until = 99999999999999")
            }
            #expect(try await service.publishing().keepAlive == .seconds(10) / 3)
        }

        @Test func aLongLeaseIsNotTakenForOneFromTheFutureByAPublisherWithAShortOne() async throws {
            let service = try await Service { $0.lease = .seconds(600) }
            let long = try await service.publishing()
            var configuration = SQLiteOutbox.Configuration()
            configuration.lease = .seconds(1)
            let short = try await SQLiteOutbox(service.file.open(), configuration).openSession()
            for _ in 0..<3 {
                #expect(try await short.balance(busy: []).slots.isEmpty)
                #expect(try await long.balance(busy: []).slots.count == 32)
            }
            await long.close()
            try await waitUntil { try await short.balance(busy: []).slots.count == 32 }
        }

        // GRDB's default does not wait for another process's transaction.
        @Test func aSessionThatEndedWhileTheDatabaseWasBusyLeavesItsLeaseToTheNextOneOfItsOutbox() async throws {
            let service = try await Service()
            let database = try service.file.open { $0.busyMode = .immediateError }
            let outbox = try SQLiteOutbox(database)
            let session = try await outbox.openSession()
            #expect(try await session.balance(busy: []).slots.count == 32)
            let standby = try await service.outbox.openSession()
            let writer = try service.file.open { $0.allowsUnsafeTransactions = true }
            try await writer.writeWithoutTransaction { try $0.beginTransaction(.immediate) }
            let error = await #expect(throws: OutboxError.self) { try await session.balance(busy: []) }
            #expect(error?.kind == .unavailable)
            await session.close()
            // What it began has come to its end, and to nothing.
            try await database.writeWithoutTransaction { _ in }
            try await writer.writeWithoutTransaction { try $0.rollback() }
            // Of another process it is not known whether it is over.
            #expect(try await standby.balance(busy: []).slots.isEmpty)
            let next = try await outbox.openSession()
            #expect(try await next.leave(busy: []).slots.isEmpty)
            #expect(try await next.balance(busy: []).slots.count == 32)
            #expect(try await next.all().isEmpty)
            #expect(try await outbox.openSession().balance(busy: []).slots.isEmpty)
        }

        // A transaction of the service's own, for instance, that takes minutes.
        @Test(arguments: [true, false])
        func closingDoesNotWaitForABusyWriterAndItsLeaseIsTheNextOnes(isOfItsOutbox: Bool) async throws {
            let service = try await Service { configuration in
                configuration.pollInterval = nil
                configuration.lease = .seconds(3_600)
            }
            let session = try await service.publishing()
            let isOver = DispatchSemaphore(value: 0)
            let isBusy = Mutex(true)
            service.database.asyncWriteWithoutTransaction { _ in
                _ = isOver.wait(timeout: .now() + .seconds(60))
                isBusy.withLock { $0 = false }
            }
            await session.close()
            let isStillBusy = isBusy.withLock { $0 }
            #expect(isStillBusy)
            isOver.signal()
            if isOfItsOutbox {
                #expect(try await service.publishing().all().isEmpty)
            } else {
                let other = try await SQLiteOutbox(service.file.open()).openSession()
                try await waitUntil { try await other.balance(busy: []).slots.count == 32 }
            }
            await #expect(throws: OutboxError.self) { try await session.balance(busy: []) }
        }

        @Test func aCallThatIsOnItsWayWhenItsSessionIsClosedTakesNoLease() async throws {
            let service = try await Service { $0.pollInterval = nil }
            let session = try await service.outbox.openSession()
            let isOver = DispatchSemaphore(value: 0)
            service.database.asyncWriteWithoutTransaction { _ in isOver.wait() }
            let share = Task { try await session.balance(busy: []) }
            async let closing: Void = session.close()
            // Closing ends the wait.
            _ = await session.waitForWork(atMost: .seconds(60))
            isOver.signal()
            await closing
            await #expect(throws: OutboxError.self) { try await share.value }
            #expect(try await service.outbox.status().publishers.isEmpty)
        }

        // MARK: Exactly once, and the archive

        @Test func aBatchIsNotedByTheLeasesHolderOnlyAndWithANumberThatGrows() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let standby = try await service.outbox.openSession()
            func inflight(_ number: Int64, _ rows: [Int64]) -> OutboxInflight {
                OutboxInflight(slot: 3, destination: "ka'fka", number: number, topic: "t", rows: rows)
            }
            #expect(
                await #expect(throws: OutboxError.self) { try await standby.note(inflight(1, [1])) }?.kind == .fenced
            )
            #expect(try await session.lastInflight(slot: 3, destination: "ka'fka") == nil)
            try await session.note(inflight(4, [10, 11]))
            let last = try await session.lastInflight(slot: 3, destination: "ka'fka")
            #expect(last?.number == 4 && last?.rows == [10, 11] && last?.topic == "t")
            #expect(
                await #expect(throws: OutboxError.self) { try await session.note(inflight(4, [12])) }?.kind == .fenced
            )
            try await session.note(inflight(5, [12]))
            #expect(try await session.lastInflight(slot: 3, destination: "ka'fka")?.rows == [12])
        }

        @Test func whatIsPublishedIsInTheArchiveForSomeDaysAndABatchThatTurnsOutToBeStoredToo() async throws {
            let service = try await Service { $0.archiveDays = 2 }
            let session = try await service.publishing()
            try await service.store(.of("a", "1"), .of("b", "2"), .of("b", "3"))
            let events = try await session.all()
            try await session.accept([events[0]])
            try await session.conclude(
                OutboxInflight(slot: 0, destination: "kafka", number: 1, topic: "t", rows: [events[1].id.number])
            )
            #expect(try await session.all().texts == ["3"])
            let archived = "SELECT count(*) FROM outbox_archive"
            #expect(try await service.database.read { try Int.fetchOne($0, sql: archived) } == 2)
            _ = try await session.maintain()
            #expect(try await service.database.read { try Int.fetchOne($0, sql: archived) } == 2)
            try await service.database.write { db in
                try db.execute(
                    sql:
                        "UPDATE outbox_archive SET archived_at = archived_at - 2 * 86400000 - 1 WHERE topic = 't' OR id = 1"
                )
            }
            _ = try await session.maintain()
            #expect(try await service.database.read { try Int.fetchOne($0, sql: archived) } ?? 9 < 2)
        }

        // MARK: Waking

        @Test func aCommitWakesAndARollbackDoesNot() async throws {
            let service = try await Service { $0.pollInterval = nil }
            let session = try await service.publishing()
            async let woken = session.waitForWork(atMost: .seconds(60))
            try await service.store(.of("a", "1"))
            #expect(await woken)
            // Once.
            #expect(await session.waitForWork(atMost: .milliseconds(20)) == false)

            try? await service.database.write { db in
                try service.outbox.append(.of("a", "2"), in: db)
                throw SQLiteWritingTests.Rollback()
            }
            try await service.database.write { try $0.execute(sql: "INSERT INTO task VALUES ('b', 1)") }
            #expect(await session.waitForWork(atMost: .milliseconds(20)) == false)
        }

        @Test func whatCameSinceTheLastWaitEndsTheNextOneAtOnce() async throws {
            let service = try await Service { $0.pollInterval = nil }
            let session = try await service.publishing()
            try await service.store(.of("a", "1"))
            #expect(await session.waitForWork(atMost: .seconds(60)))
        }

        @Test func aCommitOfAnotherProcessWakes() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let other = try service.file.open()
            let outbox = try SQLiteOutbox(other)
            // What the other connection's opening changed.
            while await session.waitForWork(atMost: .milliseconds(50)) {}
            async let woken = session.waitForWork(atMost: .seconds(60))
            try await other.write { db in _ = try outbox.append(.of("a", "1"), in: db) }
            #expect(await woken)
            #expect(try await session.all().texts == ["1"])
        }

        @Test func aDecisionWakes() async throws {
            let service = try await Service { $0.pollInterval = nil }
            let session = try await service.publishing()
            try await service.store(.of("a", "1"))
            try await session.park(session.all()[0])
            _ = await session.waitForWork(atMost: .milliseconds(1))
            async let woken = session.waitForWork(atMost: .seconds(60))
            _ = try await service.outbox.decide(.resume, .all)
            #expect(await woken)
        }

        @Test func closingEndsAWait() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            async let woken = session.waitForWork(atMost: .seconds(60))
            await session.close()
            _ = await woken
            #expect(await session.waitForWork(atMost: .seconds(60)) == false)
        }
    }
#endif
