import Foundation
import OutboxDelivery
import OutboxTesting
import Testing

@testable import OutboxPostgres

/// What becomes of a connection whose transaction does not end as it should.
@Suite(.timeLimit(.minutes(5)))
struct TransactionEndTests {
    /// Whose task is cancelled: the whole transaction's, which is rolled back then, or a statement's of it, and the rest goes on.
    enum Cancelled: CaseIterable {
        case transaction
        case statement
    }

    // The server's first process takes requests to end statements. While it stands still one is under way for ever, and nothing is sent
    // behind it; the session itself goes on, and answers.
    @Test func aConnectionIsGivenUpWhoseTransactionCouldNotBeEndedInTime() async throws {
        let server = try await PostgresServer.start()
        for cancelled in Cancelled.allCases {
            let database = try await TestDatabase.make(on: server.url)
            let observer = try await database.connect()
            var settings = database.settings
            settings.answerTimeout = .seconds(4)
            settings.cancelTimeout = .seconds(100)
            let connection = try await LibpqConnection.open(settings)
            try await observer.query(OutboxStatement("CREATE TABLE t (id int)"))
            let process = try await observer.query(
                OutboxStatement("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::bigint")
            ).integer(0, 0)
            let postmaster = try #require(process.flatMap(pid_t.init(exactly:)))
            kill(postmaster, SIGSTOP)
            defer { kill(postmaster, SIGCONT) }
            try await endInVain(cancelled, connection, observer)
            kill(postmaster, SIGCONT)
            await connection.close()
            await observer.close()
        }
        await server.shutdown()
    }

    private func endInVain(
        _ cancelled: Cancelled,
        _ connection: LibpqConnection,
        _ observer: LibpqConnection
    ) async throws {
        let lock = OutboxStatement("SELECT pg_advisory_lock(7)")
        try await observer.query(lock)
        let isCancelled = Flag()
        let task = Task {
            defer { isCancelled.set() }
            try await connection.withTransaction { transaction in
                try await transaction.query(OutboxStatement("INSERT INTO t VALUES (1)"))
                let isOver = Flag()
                let statement = Task {
                    defer { isOver.set() }
                    try await transaction.query(lock)
                }
                // Waits at the server; only then is there something to cancel. On a busy machine it may have had no time to be sent.
                while !isOver.isSet,
                    try await observer.query(OutboxStatement("SELECT FROM pg_locks WHERE NOT granted")).count == 0
                {
                    await Task.yield()
                }
                statement.cancel()
                _ = await statement.result
                isCancelled.set()
                if cancelled == .transaction { throw CancellationError() }
            }
        }
        await isCancelled.wait()
        // The statement ends by itself, and the request to end it is still under way.
        try await observer.query(OutboxStatement("SELECT pg_advisory_unlock(7)"))
        _ = await task.result

        // Else this would be a part of the transaction that is open, and be lost with it.
        let insert = OutboxStatement("INSERT INTO t VALUES (2)")
        let second = Task { try await connection.query(insert, within: .seconds(60)) }
        if case .failure(let error) = await second.result {
            #expect(connection.core.end != nil, "\(error)")
        } else {
            // The connection's thread had no time to send the request before the statement had ended.
            #expect(try await observer.query(OutboxStatement("SELECT FROM t WHERE id = 2")).count == 1)
        }
        // The server has noticed, and let go of what the transaction held.
        while try await observer.query(OutboxStatement("SELECT FROM pg_locks WHERE relation = 't'::regclass")).count > 0
        {
            await Task.yield()
        }
    }

    @Test func aCommitThatTheServerRefusesEndsTheTransactionAndTheConnectionGoesOn() async throws {
        let connection = try await TestDatabase.make().connect()
        try await connection.query(OutboxStatement("CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
        let error = await #expect(throws: OutboxError.self) {
            try await connection.withTransaction { transaction in
                try await transaction.query(OutboxStatement("INSERT INTO t VALUES (1), (1)"))
            }
        }
        #expect(error?.code == "23505" && error?.persistence == .notPersisted)
        try await connection.query(OutboxStatement("INSERT INTO t VALUES (2)"))
        #expect(try await connection.query(OutboxStatement("SELECT FROM t")).count == 1)
        #expect(connection.core.end == nil)
        await connection.close()
    }
}
