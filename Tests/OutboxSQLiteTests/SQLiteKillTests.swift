#if SQLite
    import DeliveryTesting
    import Foundation
    import GRDB
    import OutboxDelivery
    import OutboxSQLite
    import Testing

    @Suite(.timeLimit(.minutes(5))) struct SQLiteKillTests {
        private func member(_ service: Service, _ name: String) throws -> ChildProcess {
            let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
            return try ChildProcess(tests.appendingPathComponent("OutboxSQLiteMember").path, [service.file.path, name])
        }

        /// Writers are killed in the middle of what they do; a change and its event are both there or both not.
        @Test func aServiceThatIsKilledLeavesNoChangeWithoutItsEventAndNoEventWithoutItsChange() async throws {
            let service = try await Service()
            var confirmed: [String] = []
            for round in 0..<6 {
                let child = try member(service, "w\(round)")
                var lines = 0
                for await line in child.lines() {
                    confirmed.append(line)
                    lines += 1
                    // Another place in a transaction each time.
                    if lines == 20 + 7 * round { child.send(signal: SIGKILL) }
                }
                #expect(await child.end() == .signal(SIGKILL))
            }
            let tasks = try await service.database.read {
                try String.fetchAll($0, sql: "SELECT id FROM task ORDER BY rowid")
            }
            let session = try await service.publishing()
            let events = try await session.all(limit: 100_000).texts
            #expect(tasks == events)
            #expect(Set(confirmed).isSubset(of: Set(events)))
            #expect(confirmed.count > 200)
            let check = try await service.database.read { try String.fetchAll($0, sql: "PRAGMA integrity_check") }
            #expect(check == ["ok"])
        }

        /// Several processes write at a time, and one reads and deletes: every event once, in order for each key.
        @Test func eventsOfSeveralProcessesAreReadOnceAndInOrder() async throws {
            let service = try await Service()
            let session = try await service.publishing()
            let names = ["a", "b", "c"]
            let children = try names.map { try member(service, $0) }
            var read: [String] = []
            while read.count < 600 {
                await session.waitForWork(atMost: .seconds(1))
                let events = try await session.all(limit: 50)
                try await session.accept(events)
                read += events.texts
            }
            for child in children {
                child.send(signal: SIGKILL)
                _ = await child.end()
            }
            let rest = try await session.all(limit: 100_000)
            read += rest.texts
            let tasks = try await service.database.read { try String.fetchAll($0, sql: "SELECT id FROM task") }
            #expect(read.count == tasks.count)
            #expect(Set(read) == Set(tasks))
            for name in names {
                let own = read.filter { $0.hasPrefix(name + "-") }
                #expect(own == (1...own.count).map { "\(name)-\($0)" })
            }
        }
    }
#endif
