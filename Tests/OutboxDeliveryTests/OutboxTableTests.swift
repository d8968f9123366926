import OutboxDelivery
import Testing

struct OutboxTableTests {
    @Test func noValueIsPartOfTheText() throws {
        let hostile = "'; DROP TABLE outbox; --"
        let message = OutboxMessage(
            destination: hostile,
            topic: hostile,
            key: hostile,
            payload: hostile,
            headers: [OutboxHeader(hostile, hostile)],
            idempotencyKey: hostile
        )
        for dialect in [OutboxTable.Dialect.postgresql, .sqlite, .mysql] {
            let statement = try OutboxTable(dialect).insert(message)
            #expect(!statement.text.contains("DROP"))
            #expect(statement.values.count == (dialect == .postgresql ? 6 : 7))
        }
    }

    @Test func namesAreQuoted() throws {
        #expect(
            try OutboxTable(.postgresql, schema: #"my"schema"#, prefix: "a b").name("_parked")
                == #""my""schema"."a b_parked""#
        )
        #expect(try OutboxTable(.mysql, prefix: "a`b").name() == "`a``b`")
        // With a combining character behind it a mark is another character for Swift, and a mark for the database.
        #expect(try OutboxTable(.mysql, prefix: "a`\u{301}b`").name() == "`a``\u{301}b```")
        #expect(throws: OutboxError.self) { try OutboxTable(.sqlite, prefix: "") }
        #expect(throws: OutboxError.self) { try OutboxTable(.sqlite, prefix: "a\u{0}") }
        #expect(throws: OutboxError.self) { try OutboxTable(.sqlite, schema: String(repeating: "a", count: 41)) }
    }

    @Test func severalMessagesAreOneStatementInOrder() throws {
        let messages = (0..<3).map { OutboxMessage(topic: "t\($0)", payload: nil, idempotencyKey: "k\($0)") }
        let statement = try OutboxTable(.postgresql).insert(messages)
        #expect(
            statement.text.hasSuffix(
                "VALUES ($1, $2, $3, $4, $5, $6::text::jsonb), ($7, $8, $9, $10, $11, $12::text::jsonb), ($13, $14, $15, $16, $17, $18::text::jsonb)"
            )
        )
        #expect(statement.values.count == 18)
        #expect(statement.values[12] == .text("k2"))
        #expect(throws: OutboxError.self) { try OutboxTable(.postgresql).insert([]) }
    }

    @Test func oneStatementChangesTheRowAndStoresItsMessage() throws {
        let change = OutboxStatement(
            "UPDATE orders SET state = $1 WHERE id = $2 RETURNING id",
            [.text("paid"), .integer(42)]
        )
        let statement = try OutboxTable(.postgresql).insert(OutboxMessage(topic: "orders", payload: "x"), with: change)
        #expect(
            statement.text.hasPrefix(
                "WITH change AS (UPDATE orders SET state = $1 WHERE id = $2 RETURNING id) INSERT INTO"
            )
        )
        #expect(
            statement.text.contains(
                "SELECT $3::text, $4::text, $5::text, $6::bytea, $7::bytea, $8::text::jsonb FROM change"
            )
        )
        #expect(statement.values.count == 8)
        #expect(throws: OutboxError.self) {
            try OutboxTable(.sqlite).insert(OutboxMessage(topic: "orders", payload: "x"), with: change)
        }
    }

    @Test func theSlotIsTheKeysAlone() {
        let one = OutboxMessage(topic: "a", key: "42", payload: "x")
        let other = OutboxMessage(destination: "http", topic: "b", key: "42", payload: "y")
        #expect(OutboxSlot.of(one) == OutboxSlot.of(other))
        let slots = Set((0..<1_000).map { OutboxSlot.of(OutboxMessage(topic: "a", key: "\($0)", payload: "")) })
        #expect(slots == Set(0..<OutboxEvent.slotCount))
    }
}
