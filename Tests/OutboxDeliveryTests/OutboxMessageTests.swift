import Foundation
import OutboxDelivery
import Testing

struct OutboxMessageTests {
    @Test func headersComeBackInOrderWithRepeatedNamesNullsAndBytesThatAreNoText() throws {
        let headers = [
            OutboxHeader("a", "text"), OutboxHeader("a", nil), OutboxHeader("", ""), OutboxHeader("b", [0xFF, 0x00]),
            OutboxHeader("nul", "a\u{0}b"), OutboxHeader("q\"\\\n\u{1F}", "\"'\\\u{1F600}"),
            OutboxHeader("x\u{0}y", "1"),
        ]
        let json = OutboxHeaderCoding.encode(headers, attributes: ["partition": "3", "m": "\"x"])
        let (read, attributes) = try OutboxHeaderCoding.decode(json.utf8)
        #expect(read == headers)
        #expect(attributes == ["partition": "3", "m": "\"x"])
        // jsonb has no NUL, neither as a byte nor as an escape.
        #expect(!json.utf8.contains(0) && !json.contains(#"\u0000"#))
    }

    @Test func headersOfHandWrittenSQLAreAnObject() throws {
        let (headers, attributes) = try OutboxHeaderCoding.decode(#"{"b": "2", "a": 1, "n": null, "t": true}"#.utf8)
        #expect(
            headers == [
                OutboxHeader("a", "1"), OutboxHeader("b", "2"), OutboxHeader("n", nil), OutboxHeader("t", "true"),
            ]
        )
        #expect(attributes.isEmpty)
        #expect(try OutboxHeaderCoding.decode("{}".utf8).0.isEmpty)
        #expect(try OutboxHeaderCoding.decode("[]".utf8).0.isEmpty)
    }

    @Test(arguments: ["", "nonsense", "[1]", #"[["a"]]"#, #"[["a", {"base64": "?"}]]"#, "\"text\"", "[[[]]]"])
    func headersThatAreNeitherFormSaySo(_ json: String) {
        #expect(throws: OutboxError.self) { try OutboxHeaderCoding.decode(json.utf8) }
    }

    @Test func everyMessageHasAnIdempotencyKeyOfItsOwn() {
        let keys = (0..<1_000).map { _ in OutboxMessage(topic: "t", payload: "").idempotencyKey }
        #expect(Set(keys).count == 1_000)
        #expect(keys.allSatisfy { $0.utf8.count == 32 })
    }

    @Test func noKeyAndAnEmptyKeyAreDifferentThings() {
        #expect(OutboxMessage(topic: "t", key: "", payload: nil).key == [])
        #expect(OutboxMessage(topic: "t", key: nil, payload: nil).key == nil)
        #expect(OutboxMessage(topic: "t", payload: nil).payload == nil)
        #expect(OutboxMessage(topic: "t", payload: "").payload == [])
    }

    @Test func whatADatabasesTextCannotHoldIsRefused() {
        for message in [
            OutboxMessage(topic: "", payload: ""), OutboxMessage(topic: "a\u{0}", payload: ""),
            OutboxMessage(destination: "", topic: "t", payload: ""),
            OutboxMessage(topic: "t", payload: "", idempotencyKey: ""),
            OutboxMessage(topic: "t", payload: "", idempotencyKey: String(repeating: "x", count: 1_025)),
        ] {
            let error = #expect(throws: OutboxError.self) { try message.validate() }
            #expect(error?.kind == .invalidMessage)
        }
    }

    @Test func allThatAnEventHasCountsForItsWeight() {
        let weight = { (message: OutboxMessage) in
            OutboxEvent(id: .init(slot: 0, number: 1), createdAt: .distantPast, message: message).weight
        }
        let text = String(repeating: "x", count: 1_000)
        let plain = OutboxMessage(topic: "t", payload: "")
        for message in [
            OutboxMessage(topic: text, payload: ""), OutboxMessage(topic: "t", key: text, payload: ""),
            OutboxMessage(topic: "t", payload: [UInt8](text.utf8)),
            OutboxMessage(topic: "t", payload: "", headers: [OutboxHeader("h", text)]),
            OutboxMessage(topic: "t", payload: "", idempotencyKey: text + text),
            OutboxMessage(topic: "t", payload: "", attributes: [text: ""]),
            OutboxMessage(topic: "t", payload: "", attributes: ["url": text]),
        ] {
            #expect(weight(message) >= weight(plain) + 999)
        }
    }

    @Test func anOutboxErrorSaysWhatToDoFirstAndTheDatabasesCodeLast() {
        let timedOut = OutboxError(
            kind: .timedOut,
            persistence: .possiblyPersisted,
            recovery: .retry,
            reason: "no answer within 5.0 s",
            code: "57014"
        )
        #expect(
            timedOut.description
                == "Try again later: no answer within 5.0 s. It may be done all the same. (database: 57014)"
        )
        let invalid = OutboxError.invalidMessage("the topic is empty")
        #expect(invalid.description == "Change the request: the topic is empty. Nothing was changed.")
        let closed = OutboxError(kind: .closed, persistence: nil, recovery: .recreateClient, reason: "it is closed")
        #expect(closed.description == "Closed: it is closed.")
    }
}
