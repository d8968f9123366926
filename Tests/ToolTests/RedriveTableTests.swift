import ArgumentParser
import Testing
import ToolSupport

@testable import KafkaDelivery
@testable import kafka_delivery

extension KafkaRedrive.Letter {
    fileprivate static let sample = KafkaRedrive.Letter(
        partition: 1,
        offset: 7,
        message: KafkaMessage(
            topic: "orders-dlt",
            value: "v",
            headers: [
                "kafka_dlt-original-topic": "orders", "kafka_dlt-original-partition": [0, 0, 0, 1],
                "kafka_dlt-original-offset": [0, 0, 0, 0, 0, 0, 0, 9], "kafka_dlt-exception-message": "declined",
            ]
        )
    )
}

extension KafkaError {
    fileprivate static let sample = KafkaError(
        .messageTooLarge,
        persistence: .notPersisted,
        recovery: .fixRequest,
        reason: "the message is too large"
    )
}

@Suite struct RedriveTableTests {
    private func row(
        _ letter: String,
        result: String = "orders",
        isGood: Bool = true,
        error: String = "Declined: no money"
    )
        -> RedriveTable.Row
    {
        RedriveTable.Row(
            partition: 0,
            offset: 0,
            letter: letter,
            original: "orders [3] at 42",
            when: "2025-11-23T08:00:00Z",
            attempts: "3",
            result: result,
            isGood: isGood,
            error: error
        )
    }

    private func lines(_ rows: [RedriveTable.Row], isDry: Bool = true, columns: Int? = nil, isColoured: Bool = false)
        -> [String]
    {
        let table = RedriveTable(rows, isDry: isDry, columns: columns, style: Style(isColoured: isColoured))
        return ([table.heading] + rows.map(table.line)).map { String($0.dropLast()) }
    }

    @Test func columnsAreAsWideAsTheyNeed() {
        #expect(
            lines([row("0:7"), row("12:1000")]) == [
                "letter   original          when                  attempts  error",
                "0:7      orders [3] at 42  2025-11-23T08:00:00Z  3         Declined: no money",
                "12:1000  orders [3] at 42  2025-11-23T08:00:00Z  3         Declined: no money",
            ]
        )
        #expect(
            lines(
                [row("0:7", result: "orders [3] at 99"), row("0:8", result: "not confirmed", isGood: false)],
                isDry: false
            )
                == [
                    "letter  original          redriven to       error",
                    "0:7     orders [3] at 42  orders [3] at 99  Declined: no money",
                    "0:8     orders [3] at 42  not confirmed     Declined: no money",
                ]
        )
    }

    @Test func aPreviewSaysWhyARowIsLeft() {
        let line = lines([row("0:7", result: "left, redriven too often", isGood: false)])[1]
        #expect(line.hasSuffix("left, redriven too often: Declined: no money"))
    }

    @Test func aRefusedReplayIsShownWithItsReasonInsteadOfTheOldError() {
        let letter = KafkaRedrive.Letter.sample
        let row = RedriveTable.Row(letter, .refused(.sample))
        #expect(row.result == "left, refused")
        #expect(!row.isGood)
        #expect(row.error.contains("too large"))
        let line = String(decoding: RedriveEnvelope.bytes(of: letter, .refused(.sample)), as: UTF8.self)
        #expect(line.contains("\"outcome\":\"refused\",\"reason\":\""))
        #expect(line.contains("too large"))
    }

    @Test(arguments: [1, 10, 40, 55, 60, 80, 100, 200])
    func noLineIsWiderThanTheTerminal(columns: Int) {
        let long = row("0:7", error: String(repeating: "x", count: 300))
        for line in lines([long], columns: columns) { #expect(line.count <= columns) }
    }

    @Test func aNarrowTerminalShowsTheErrorRatherThanTheTime() {
        let narrow = lines([row("0:7")], columns: 60)
        #expect(narrow[0] == "letter  original          error")
        #expect(narrow[1] == "0:7     orders [3] at 42  Declined: no money")
    }

    @Test func rowsThatNeedALookAreRed() {
        #expect(lines([row("0:7", isGood: false)], isColoured: true)[1].hasPrefix("\u{1B}[31m"))
        #expect(!lines([row("0:7")], isColoured: true)[1].contains("\u{1B}"))
    }
}

@Suite struct RedriveArgumentTests {
    @Test(
        arguments: [
            [""], [], ["t", "--to", "t"], ["t", "--to", ""], ["t", "--rate", "0"], ["t", "--rate", "nan"],
            ["t", "--maximum", "0"], ["t", "--maximum-redrives", "0"], ["t", "--partition", "-1"],
            ["t", "--group", ""],
            ["t", "--since", "yesterday"], ["t", "--since", "2025-11-23", "--until", "2025-11-23"], ["^t"],
            ["t", "--offset", "x"], ["t", "--offset", "5-3"], ["t", "--offset", "9223372036854775807"],
            ["t", "--offset", "1-9223372036854775807"], ["t", "--offset", ""], ["t", "--error", ""], ["t", "u"],
        ]
    )
    func aRedriveThatCannotBeMeantIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try RedriveCommand.parse(arguments) }
    }

    @Test func offsetsAreOneOrManyWithBothEnds() {
        typealias Offsets = RedriveCommand.OffsetRange
        #expect(Offsets(argument: "17")?.range == 17..<18)
        #expect(Offsets(argument: "17-42")?.range == 17..<43)
        #expect(Offsets(argument: "17-17")?.range == 17..<18)
        #expect(Offsets(argument: "17-")?.range == 17..<Int64.max)
    }

    @Test func optionsBecomeTheFilterAndTheLimits() throws {
        let command = try RedriveCommand.parse([
            "orders-dlt", "-b", "a:1", "--error", "Declined", "-H", "tenant=7", "-H", "beta", "--since", "1970-01-02",
            "--until", "1970-01-03", "--partition", "1", "--partition", "2", "--offset", "5-6", "--to", "again",
            "--rate",
            "2.5", "--maximum", "9", "--maximum-redrives", "1", "--original-timestamps", "-X", "security.protocol=ssl",
            "-X",
            "session.timeout.ms=9000", "-X", "compression.type=zstd", "-X", "message.timeout.ms=1500", "-X",
            "client.id=me",
        ])
        let (redrive, producer) = try command.configurations()
        #expect(redrive.topic == "orders-dlt")
        #expect(redrive.group == "orders-dlt-redrive")
        #expect(redrive.filter.error == "Declined")
        #expect(redrive.filter.headers == [KafkaHeader("tenant", "7"), KafkaHeader("beta", nil)])
        #expect(redrive.filter.since == KafkaTimestamp(millisecondsSince1970: 86_400_000))
        #expect(redrive.filter.until == KafkaTimestamp(millisecondsSince1970: 172_800_000))
        #expect(redrive.filter.partitions == [1, 2])
        #expect(redrive.filter.offsets == 5..<7)
        #expect(redrive.destination == "again")
        #expect(redrive.maximumRate == 2.5)
        #expect(redrive.maximumCount == 9)
        #expect(redrive.maximumRedrives == 1)
        #expect(redrive.timestamps == .original)
        #expect(redrive.clientID == "me")
        #expect(redrive.additionalProperties == ["security.protocol": "ssl"])
        #expect(redrive.sessionTimeout == .seconds(9))
        #expect(producer.additionalProperties == ["security.protocol": "ssl"])
        #expect(producer.compression == .zstd)
        #expect(producer.messageTimeout == .milliseconds(1500))
        #expect(producer.clientID == "me")
    }

    @Test(arguments: ["group.id=g", "linger.ms=1", "acks=1", "bootstrap.servers=b:1", "enable.idempotence=false"])
    func propertiesThatContradictARedriveAreRefused(property: String) throws {
        let command = try RedriveCommand.parse(["t", "-b", "a:1", "-X", property])
        #expect(throws: ToolFailure.self) { try command.configurations() }
    }

    @Test func theSummarySaysWhatStays() throws {
        var counts = RedriveListing.Counts()
        counts.redriven = 1
        counts.often = 2
        let text = RedriveSummary(
            isDry: false,
            configuration: .init(bootstrapServers: ["a:1"], topic: "t"),
            counts: counts,
            elapsed: .seconds(2)
        )
        #expect(text.sentences(nil) == ["1 dead letter redriven in 2.0 s"])
        #expect(
            text.sentences(KafkaRedrive.Summary()) == [
                "1 dead letter redriven in 2.0 s", "2 left: redriven 3 times already (--maximum-redrives)",
            ]
        )
        #expect(!text.isIncomplete(KafkaRedrive.Summary()))
    }

    @Test func theSummaryNamesARefusalAndTheRunIsIncomplete() {
        func summary(_ refusals: [String], isDry: Bool = false) -> RedriveSummary {
            var counts = RedriveListing.Counts()
            for reason in refusals { counts.addRefusal(reason) }
            return RedriveSummary(
                isDry: isDry,
                configuration: .init(bootstrapServers: ["a:1"], topic: "t"),
                counts: counts,
                elapsed: .seconds(2)
            )
        }
        #expect(summary(["too large", "too large"]).sentences(nil).last == "2 left: refused, too large")
        #expect(summary(["too large", "empty"]).sentences(nil).last == "2 left: refused, for different reasons")
        var counted = KafkaRedrive.Summary()
        counted.unsendable = 2
        #expect(summary(["too large", "empty"]).isIncomplete(counted))
        #expect(!summary(["too large", "empty"], isDry: true).isIncomplete(counted))
    }
}
