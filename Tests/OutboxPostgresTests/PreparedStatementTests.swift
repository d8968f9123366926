import OutboxDelivery
import OutboxPostgres
import Testing

@Suite(.timeLimit(.minutes(5)))
struct PreparedStatementTests {
    private func connect(_ maximum: Int, to database: TestDatabase) async throws -> LibpqConnection {
        var settings = database.settings
        settings.maximumPreparedStatements = maximum
        return try await LibpqConnection.open(settings)
    }

    /// What the server has prepared for the session, as it says in a statement that is never the same.
    private func prepared(_ connection: LibpqConnection) async throws -> [String] {
        let mark = UInt64.random(in: .min ... .max)
        let rows = try await connection.query(
            OutboxStatement("SELECT statement FROM pg_prepared_statements /* \(mark) */ ORDER BY prepare_time, name")
        )
        return (0..<rows.count).compactMap { rows.text($0, 0) }
    }

    @Test func aStatementThatComesAgainIsPreparedAndGoesOnAnswering() async throws {
        let connection = try await connect(10, to: TestDatabase.make())
        let text = "SELECT $1::bigint * 2, $2::bytea, $3::text"
        for value in 0..<10 as Range<Int64> {
            // Bytes or NULL: the types of a statement's values are part of what is prepared.
            let bytes = value % 2 == 0 ? OutboxValue.bytes([0, 0xFF, UInt8(value)]) : .null
            let rows = try await connection.query(OutboxStatement(text, [.integer(value), bytes, .text("ä \(value)")]))
            #expect(rows.count == 1)
            #expect(rows.integer(0, 0) == value * 2)
            #expect(rows.bytes(0, 1) == (value % 2 == 0 ? [0, 0xFF, UInt8(value)] : nil))
            #expect(rows.text(0, 2) == "ä \(value)")
        }
        #expect(try await prepared(connection) == [text, text])
        await connection.close()
    }

    @Test func nothingIsPreparedWhereThatIsNotAskedFor() async throws {
        let connection = try await TestDatabase.make().connect()
        for _ in 0..<5 { try await connection.query(OutboxStatement("SELECT 1")) }
        #expect(try await prepared(connection) == [])
        await connection.close()
    }

    @Test func noMoreArePreparedThanTheSettingSays() async throws {
        let connection = try await connect(2, to: TestDatabase.make())
        for number in 0..<5 {
            for _ in 0..<3 {
                let rows = try await connection.query(OutboxStatement("SELECT \(number)::bigint"))
                #expect(rows.integer(0, 0) == Int64(number))
            }
        }
        #expect(try await prepared(connection) == ["SELECT 0::bigint", "SELECT 1::bigint"])
        await connection.close()
    }

    // All are sent before the first is answered, while nothing says yet whether the server has prepared the text.
    @Test func statementsThatAreSentWhileTheirTextIsBeingPreparedGetTheirOwnAnswers() async throws {
        let connection = try await connect(10, to: TestDatabase.make())
        let answers = try await withThrowingTaskGroup(of: (Int64, Int64?).self) { group in
            for value in 0..<500 as Range<Int64> {
                group.addTask {
                    let rows = try await connection.query(OutboxStatement("SELECT $1::bigint + 1", [.integer(value)]))
                    return (value, rows.integer(0, 0))
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.count == 500)
        #expect(answers.allSatisfy { $0.1 == $0.0 + 1 })
        #expect(try await prepared(connection) == ["SELECT $1::bigint + 1"])
        await connection.close()
    }

    @Test func aStatementThatTheServerRefusedToPrepareIsPreparedWhenItCanBe() async throws {
        let connection = try await connect(10, to: TestDatabase.make())
        let statement = OutboxStatement("SELECT id FROM t")
        for _ in 0..<3 {
            let error = await #expect(throws: OutboxError.self) { try await connection.query(statement) }
            #expect(error?.code == "42P01")
            #expect(error?.persistence == .notPersisted)
        }
        try await connection.query(OutboxStatement("CREATE TABLE t AS SELECT 7::bigint AS id"))
        for _ in 0..<3 { #expect(try await connection.query(statement).integer(0, 0) == 7) }
        #expect(try await prepared(connection) == ["SELECT id FROM t"])
        await connection.close()
    }

    @Test func aPreparedStatementThatFailsHasChangedNothingAndWorksTheNextTime() async throws {
        let connection = try await connect(10, to: TestDatabase.make())
        try await connection.query(OutboxStatement("CREATE TABLE t (id bigint PRIMARY KEY)"))
        let insert = { (id: Int64) in OutboxStatement("INSERT INTO t VALUES ($1::bigint)", [.integer(id)]) }
        for id in [1, 1, 2, 2, 3, 3] as [Int64] {
            do {
                try await connection.query(insert(id))
            } catch {
                #expect(error.code == "23505")
                #expect(error.recovery == .fixRequest)
            }
        }
        #expect(try await connection.query(OutboxStatement("SELECT sum(id)::bigint FROM t")).integer(0, 0) == 6)
        #expect(try await prepared(connection).contains("INSERT INTO t VALUES ($1::bigint)"))
        await connection.close()
    }

    @Test func aPreparedStatementWhoseRowsHaveOtherTypesNowCanBeSentAgain() async throws {
        let connection = try await connect(10, to: TestDatabase.make())
        try await connection.query(OutboxStatement("CREATE TABLE t AS SELECT 7::int AS id"))
        let statement = OutboxStatement("SELECT * FROM t")
        for _ in 0..<3 { #expect(try await connection.query(statement).integer(0, 0) == 7) }
        try await connection.query(OutboxStatement("ALTER TABLE t ALTER id TYPE bigint"))
        let error = await #expect(throws: OutboxError.self) { try await connection.query(statement) }
        #expect(error?.code == "0A000")
        #expect(error?.persistence == .notPersisted)
        #expect(error?.recovery == .retry)
        for _ in 0..<3 { #expect(try await connection.query(statement).integer(0, 0) == 7) }
        await connection.close()
    }

    @Test func whatTheServerWasToldToForgetIsPreparedAgain() async throws {
        let connection = try await connect(1, to: TestDatabase.make())
        let statement = OutboxStatement("SELECT 7::bigint")
        for _ in 0..<3 { try await connection.query(statement) }
        try await connection.query(OutboxStatement("DEALLOCATE ALL"))
        let error = await #expect(throws: OutboxError.self) { try await connection.query(statement) }
        #expect(error?.code == "26000")
        #expect(error?.persistence == .notPersisted)
        #expect(error?.recovery == .retry)
        for _ in 0..<3 { #expect(try await connection.query(statement).integer(0, 0) == 7) }
        #expect(try await prepared(connection) == ["SELECT 7::bigint"])
        await connection.close()
    }

    @Test func aTransactionThatFailsWhileAStatementIsBeingPreparedLeavesAConnectionThatGoesOn() async throws {
        let connection = try await connect(10, to: TestDatabase.make())
        let statement = OutboxStatement("SELECT 7::bigint")
        try await connection.query(statement)
        let error = await #expect(throws: OutboxError.self) {
            try await connection.withTransaction { transaction in
                _ = try? await transaction.query(OutboxStatement("SELECT 1/0"))
                // Nothing can be prepared in it any more.
                try await transaction.query(statement)
            }
        }
        #expect(error?.code == "25P02")
        for _ in 0..<3 { #expect(try await connection.query(statement).integer(0, 0) == 7) }
        #expect(try await prepared(connection).contains("SELECT 7::bigint"))
        await connection.close()
    }

    @Test func aNumberBelowZeroIsRefused() async throws {
        var settings = LibpqSettings("postgres://localhost/shop")
        settings.maximumPreparedStatements = -1
        let error = #expect(throws: OutboxError.self) { try settings.parameters() }
        #expect(error?.kind == .invalidConfiguration)
    }
}
