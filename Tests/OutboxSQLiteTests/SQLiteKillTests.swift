#if SQLite
    import DeliveryTesting
    import Foundation
    import GRDB
    import OutboxDelivery
    import OutboxSQLite
    import Testing

    @Suite(.timeLimit(.minutes(5))) struct SQLiteKillTests {
        private func member(_ service: Service, _ words: String...) throws -> ChildProcess {
            let tests = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
            return try ChildProcess(
                tests.appendingPathComponent("OutboxSQLiteMember").path,
                [words[0], service.file.path] + words.dropFirst()
            )
        }

        /// Writers are killed in the middle of what they do; a change and its event are both there or both not.
        @Test func aServiceThatIsKilledLeavesNoChangeWithoutItsEventAndNoEventWithoutItsChange() async throws {
            let service = try await Service()
            var confirmed: [String] = []
            for round in 0..<6 {
                let child = try member(service, "write", "w\(round)")
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
            let children = try names.map { try member(service, "write", $0) }
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
                #expect(own == own.indices.map { "\(name)-\($0 + 1)" })
            }
        }

        /// Publishers are killed at any moment; the next one goes on where the first undeleted row is.
        @Test func aPublisherThatIsKilledLosesNothingAndKeepsTheOrderOfEachKey() async throws {
            let service = try await Service()
            let keys = 5
            let count = 1_500
            try await service.database.write { db in
                for number in 0..<count {
                    try service.outbox.append(.of("k\(number % keys)", "\(number)"), in: db)
                }
            }
            var lines: [String] = []
            var kills = 0
            while try await service.outbox.status().backlog > 0 {
                let child = try member(service, "publish")
                // It stands still in the middle of a batch, and is killed there; the last one may go on to the end.
                let allowed = 40 + 37 * kills
                try child.input.write(contentsOf: [UInt8](repeating: 0, count: allowed))
                if kills >= 6 { try child.input.close() }
                var own = 0
                for await line in child.lines() {
                    lines.append(line)
                    own += 1
                    if kills < 6, own == allowed { child.send(signal: SIGKILL) }
                    if kills >= 6, Set(lines).count == count { child.send(signal: SIGKILL) }
                }
                _ = await child.end()
                kills += 1
            }
            #expect(kills > 6)
            // What is repeated has the same idempotency key, and is less than what a publisher has in memory.
            #expect(lines.count > count)
            #expect(Set(lines).count == count)
            var seen: Set<String> = []
            let first = lines.filter { seen.insert($0).inserted }.compactMap { Int($0.prefix { $0 != " " }) }
            for key in 0..<keys {
                #expect(first.filter { $0 % keys == key } == (0..<count).filter { $0 % keys == key })
            }
        }
    }
#endif
