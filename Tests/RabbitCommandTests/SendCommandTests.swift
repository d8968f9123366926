import DeliveryTesting
import Foundation
import RabbitDelivery
import Testing

/// `rabbit-delivery send`, seen from outside.
@Suite(.timeLimit(.minutes(10))) struct SendCommandTests {
    @Test func eachLineIsAMessageThatIsReportedInTheOrderOfTheInput() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let sent = try await place.run(
            "send",
            "--queue",
            place.queue,
            "--print-reports",
            "-H",
            "kind=test",
            "--content-type",
            "text/plain",
            input: "a\nb\r\n\nlast"
        )
        #expect(sent.end == .exit(0))
        #expect(sent.output == (1...4).map { "\(place.queue) \($0)" })
        #expect(sent.errors == "rabbit-delivery: 4 messages confirmed\n")
        let deliveries = try await place.take(4)
        #expect(deliveries.map(\.text) == ["a", "b", "", "last"])
        #expect(deliveries.allSatisfy { $0.headers["kind"] == "test" && $0.properties.contentType == "text/plain" })
        #expect(deliveries.allSatisfy { $0.properties.isPersistent })
    }

    @Test func whatIsNotConfirmedIsAFailureAndItsLinesAreInTheFile() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let lines = "{\"to\":\"\(place.queue)\"}\n{\"to\":\"nowhere\"}\n{}\n"
        try place.write(lines, "orders.jsonl")
        let sent = try await place.run(
            "send",
            "--exchange",
            "",
            "--json-key",
            "to",
            place.path("orders.jsonl"),
            "--print-reports",
            "--failed",
            place.path("failed.jsonl")
        )
        #expect(sent.end == .exit(1))
        #expect(sent.output == ["\(place.queue) 1", "nowhere -", "- -"])
        #expect(sent.errors.contains("1 message confirmed, 2 not"))
        #expect(sent.errors.contains("line 2 of ") && sent.errors.contains("failed.jsonl"))
        #expect(try place.text("failed.jsonl") == "{\"to\":\"nowhere\"}\n{}\n")
        #expect(try await place.messageCount() == 1)
    }

    @Test func aFileThatIsSentWholeIsOneMessageAndEmptyLinesAreLeftOutWhereThatIsWanted() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        try place.write("two\nlines\n", "whole")
        #expect(try await place.run("send", "--queue", place.queue, "--whole", place.path("whole")).end == .exit(0))
        #expect(
            try await place.run("send", "--queue", place.queue, "--skip-empty", input: "\nx\n\n").end == .exit(0)
        )
        #expect(try await place.take(2).map(\.text) == ["two\nlines\n", "x"])
    }

    @Test func onASignalWhatWasReadIsConfirmedAndTheStatusSaysThatItWasNotAll() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let process = try place.start("send", "--queue", place.queue)
        // The input goes on: nothing but the signal ends it.
        try process.input.write(contentsOf: Data("a\nb\n".utf8))
        #expect(try await place.take(2).map(\.text) == ["a", "b"])
        process.send(signal: SIGINT)
        #expect(await process.end() == .exit(130))
        #expect(try place.text("errors").contains("2 messages confirmed; interrupted"))
    }

    @Test func eachMessageIsReportedWhenItIsConfirmedThoughTheInputGoesOn() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let process = try place.start("send", "--queue", place.queue, "--print-reports")
        var reports = process.lines().makeAsyncIterator()
        for number in 1...3 {
            // The next line is written only when this one is reported.
            try process.input.write(contentsOf: Data("line \(number)\n".utf8))
            #expect(await reports.next() == "\(place.queue) \(number)")
        }
        try process.input.close()
        #expect(await process.end() == .exit(0))
    }

    @Test func aBrokerThatIsAwayIsAFailureWithinTheTimeOutAndNoPasswordIsSaid() async throws {
        let place = try CommandPlace.nowhere()
        defer { place.remove() }
        let process = try ChildProcess(
            CommandPlace.program,
            [
                "send", "--url", "amqp://user:s3cret@127.0.0.1:1", "--queue", "any", "--timeout", "0.5", "--verbose",
                "--failed", place.path("failed"),
            ],
            errors: place.path("errors")
        )
        let sent = try await place.finish(process, input: "a\n")
        #expect(sent.end == .exit(1))
        #expect(sent.errors.contains("0 messages confirmed, 1 not"))
        #expect(sent.errors.contains("The message is not stored; what was not confirmed is in "))
        #expect(!sent.errors.contains("s3cret"))
    }

    @Test(arguments: [
        ["send"], ["send", "--queue", "q", "--key", "k"], ["send", "--queue", "q", "--timeout", "0"],
        ["send", "--queue", "q", "-H", "nameless"], ["send", "--exchange", "e", "--json-key", ""],
        ["send", "--queue", "q", "--whole", "--failed", "f"], ["receive"], ["receive", "q", "--count", "0"],
        ["receive", "q", "--prefetch", "65536"], ["receive", "q", "--url", "http://localhost"],
        ["redrive", "q", "--to-key", "k"], ["redrive", "q", "--rate", "0"], ["unknown"],
    ])
    func aCommandLineThatIsWrongHasAStatusOfItsOwnAndNeedsNoBroker(_ arguments: [String]) async throws {
        let place = try CommandPlace.nowhere()
        defer { place.remove() }
        let process = try ChildProcess(CommandPlace.program, arguments, errors: place.path("errors"))
        let ended = try await place.finish(process)
        #expect(ended.end == .exit(64))
        #expect(ended.output.isEmpty && !ended.errors.isEmpty)
    }
}
