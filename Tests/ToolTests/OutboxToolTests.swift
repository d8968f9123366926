import ArgumentParser
import Foundation
import OutboxDelivery
import Testing
import ToolSupport

@testable import kafka_delivery

struct OutboxToolTests {
    private let now = Date(timeIntervalSince1970: 1_700_000_100)

    private func status(_ publishers: [OutboxStatus.Publisher]) -> OutboxStatus {
        OutboxStatus(
            schemaVersion: 1,
            waiting: [
                .init(
                    destination: "kafka",
                    topic: "orders",
                    count: 1_234,
                    oldest: Date(timeIntervalSince1970: 1_700_000_040)
                ),
                .init(destination: "webhooks", topic: "tasks\u{1B}[31m/42", count: 1, oldest: nil),
            ],
            publishers: publishers,
            parkedCount: 14,
            parkedKeyCount: 1,
            readAt: now
        )
    }

    @Test func statusSaysWhatWaitsAndWhoPublishesIt() {
        let text = OutboxReport.text(
            status([.init(name: "shop 10.0.0.7 (42)", slots: [0, 1, 2, 7], since: now)]),
            columns: nil
        )
        #expect(text.hasPrefix("1,235 events waiting, the oldest for "))
        #expect(text.contains("14 parked of 1 key"))
        #expect(text.contains("0–2, 7"))
        // What is in the rows does not write to the terminal.
        #expect(!text.contains("\u{1B}"))
        #expect(OutboxReport.text(status([]), columns: nil).hasSuffix("nobody publishes"))
    }

    @Test func statusAndParkedEventsAsJSONAreReadByOtherPrograms() throws {
        let json = OutboxReport.json(status([.init(name: "a\"b", slots: [3], since: nil)]))
        let read = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
        #expect(read["backlog"] as? Int == 1_235)
        #expect((read["publishers"] as? [[String: Any]])?.first?["name"] as? String == "a\"b")
        let event = OutboxEvent(
            id: .init(slot: 2, number: 1_002),
            createdAt: now,
            message: OutboxMessage(topic: "t", key: [0xFF], payload: [1, 0])
        )
        let parked = OutboxParkedEvent(event: event, attempts: 3, reason: "no\n", parkedAt: now, action: .resume)
        let line = OutboxReport.json(parked)
        #expect(!line.contains("\n"))
        let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(object["event"] as? String == "2/1002" && object["key_base64"] as? String == "/w==")
        #expect(OutboxReport.text([], columns: 80) == "nothing is parked")
    }

    @Test(arguments: [#"a\n"b'"#, "é\n\u{1B}[31m\u{202E}", "", "42", nil])
    func aKeyIsShownAsTheOptionTakesIt(_ text: String?) throws {
        let key: [UInt8] = text.map { Array($0.utf8) } ?? [0xFF, 0, 0x31]
        let message = OutboxMessage(topic: "t", key: key, payload: [])
        let event = OutboxEvent(id: .init(slot: 2, number: 1), createdAt: now, message: message)
        let parked = OutboxParkedEvent(event: event, attempts: 3, reason: "no", parkedAt: now, action: nil)
        let shown = Escapes.argument(for: key)
        #expect(OutboxReport.text([parked], columns: nil).contains("2/1    \(shown) "))
        #expect(try OutboxSelection.bytes(shown) == key)
    }

    @Test func parkedEventsOfSeveralDestinationsSayWhose() {
        let events = ["kafka", "web"].map { destination in
            var message = OutboxMessage(topic: "t", key: "k", payload: "")
            message.destination = destination
            let event = OutboxEvent(id: .init(slot: 2, number: 1), createdAt: now, message: message)
            return OutboxParkedEvent(event: event, attempts: 3, reason: "no", parkedAt: now, action: nil)
        }
        let lines = OutboxReport.text(events, columns: nil).split(separator: "\n").map { $0.split(separator: " ") }
        #expect(lines.map { $0[2] } == ["DESTINATION", "kafka", "web"])
        #expect(!OutboxReport.text([events[0]], columns: nil).contains("DESTINATION"))
    }

    @Test func whereMoreAreParkedThanAreShownTheTableSaysSo() {
        let events = ([1, 2, 3] as [Int64]).map { number in
            let message = OutboxMessage(topic: "t", key: "k", payload: "")
            let event = OutboxEvent(id: .init(slot: 2, number: number), createdAt: now, message: message)
            return OutboxParkedEvent(event: event, attempts: 3, reason: "no", parkedAt: now, action: nil)
        }
        let cut = OutboxReport.parked(events, key: nil, limit: 2, columns: nil)
        #expect(cut.contains("2/2 ") && !cut.contains("2/3"))
        #expect(cut.hasSuffix("\nmore are parked than the 2 shown; --limit shows more"))
        let all = OutboxReport.text(events, columns: nil)
        #expect(OutboxReport.parked(events, key: nil, limit: 3, columns: nil) == all)
        for wrong in ["0", "-1"] {
            #expect(throws: (any Error).self) { try OutboxParkedCommand.parse(["--limit", wrong]) }
        }
    }

    @Test func whereNothingIsParkedTheKeyThatWasAskedForIsNamed() {
        #expect(OutboxReport.parked([], key: nil, limit: 2, columns: nil) == "nothing is parked")
        let text = OutboxReport.parked([], key: [0x61, 0x0A], limit: 2, columns: nil)
        #expect(text == #"nothing with the key "a\n" is parked"#)
    }

    @Test func aFaultOfTheDatabaseIsNoneOfTheCommandLine() async throws {
        // Connects to nothing.
        let options = try OutboxOptions.parse(["--database", "postgres://127.0.0.1:1/shop"])
        let error = await #expect(throws: ToolFailure.self) {
            try await options.withOutbox { (_: OutboxOptions.Opened) async throws -> Void in
                throw OutboxError.invalidConfiguration("grant the right")
            }
        }
        #expect(error == ToolFailure("grant the right", status: 1))
        let long = String(repeating: "x", count: 41)
        let wrong = try OutboxOptions.parse(["--database", "postgres://127.0.0.1:1/shop", "--prefix", long])
        let refusal = await #expect(throws: OutboxError.self) {
            try await wrong.withOutbox { (_: OutboxOptions.Opened) async throws -> Void in }
        }
        #expect(refusal?.toolFailure.status == 64)
    }

    @Test func whereNothingIsTheStatusSaysSo() {
        let status = OutboxStatus(
            schemaVersion: 2,
            waiting: [],
            publishers: [],
            parkedCount: 0,
            parkedKeyCount: 0,
            readAt: now
        )
        #expect(OutboxReport.text(status, columns: nil) == "nothing is waiting; nothing is parked\n\nnobody publishes")
    }

    @Test(arguments: [-9_223_372_036_854_775.808, 9_223_372_036_854_775.807, -1e300, 1e300])
    func anEventOfAnyTimeIsShown(_ seconds: Double) {
        let date = Date(timeIntervalSince1970: seconds)
        let event = OutboxEvent(
            id: .init(slot: 2, number: 1),
            createdAt: date,
            message: OutboxMessage(topic: "t", key: "k", payload: "")
        )
        let parked = OutboxParkedEvent(event: event, attempts: 3, reason: "no", parkedAt: date, action: nil)
        #expect(OutboxReport.json(parked).contains(seconds < 0 ? "\"created_at\":\"-" : "\"created_at\":\"+"))
        #expect(OutboxReport.text([parked], columns: nil).contains("2/1"))
        var status = status([.init(name: "a", slots: [1], since: date)])
        status.waiting[0].oldest = date
        #expect(OutboxReport.text(status, columns: nil).contains("orders"))
        #expect(OutboxReport.json(status).contains("\"backlog\":1235"))
    }

    @Test func aDecisionNamesWhatItIsAbout() throws {
        #expect(try OutboxSelection.parse(["--all"]).selection() == .all)
        #expect(try OutboxSelection.parse(["--key", "a\\x00"]).selection() == .key([0x61, 0]))
        #expect(try OutboxSelection.parse(["--event", "2/1002"]).selection() == .event(.init(slot: 2, number: 1_002)))
        for wrong in [[], ["--all", "--key", "a"]] as [[String]] {
            #expect(throws: (any Error).self) { try OutboxSelection.parse(wrong) }
        }
        for wrong in ["2", "32/1", "a/b", "2/1/3", ""] {
            #expect(throws: ToolFailure.self) { try OutboxSelection.parse(["--event", wrong]).selection() }
        }
    }

    @Test func anAddressOfNoKindThatIsKnownIsNotPrinted() async throws {
        let command = try OutboxStatusCommand.parse(["--database", "mysql://user:topsecret@host/db"])
        let error = await #expect(throws: ToolFailure.self) { try await command.run() }
        #expect(error?.status == 64)
        #expect(error.map { !$0.sentence.contains("topsecret") } == true)
    }
}
