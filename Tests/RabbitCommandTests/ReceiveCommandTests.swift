import DeliveryTesting
import Foundation
import RabbitDelivery
import Testing

/// `rabbit-delivery receive`, `redrive` and `topology`, seen from outside.
@Suite(.timeLimit(.minutes(10))) struct ReceiveCommandTests {
    @Test func whatIsWrittenIsAcknowledgedAndNoMoreThanWasAskedFor() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        try await place.send(["a", "b\nc", "d", "e"])
        let received = try await place.run("receive", place.queue, "--count", "2")
        #expect(received.end == .exit(0))
        #expect(received.output == ["a", "b", "c"])
        #expect(try await place.take(2).map(\.text) == ["d", "e"])
        #expect(try await place.messageCount() == 0)
    }

    @Test func asJSONEachMessageIsAnObjectThatSaysAllOfIt() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        try await place.send(
            ["three ✓"],
            headers: ["text": "\"x\"", "number": 7, "list": [1, true, .void], "bytes": .bytes([0xFF]), "real": 1.5]
        )
        let publisher = try RabbitPublisher(.init(place.broker), logger: quiet)
        try await publisher.send(RabbitMessage(queue: place.queue, body: [0xFF, 0]))
        await publisher.close()
        let received = try await place.run("receive", place.queue, "--count", "2", "--format", "json")
        #expect(received.end == .exit(0))
        let objects = try received.output.map { line in
            try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        }
        let (first, second) = (try #require(objects.first), try #require(objects.last))
        #expect(first["body"] as? String == "three ✓" && first["exchange"] as? String == "")
        #expect(first["routing_key"] as? String == place.queue && first["redelivered"] as? Bool == false)
        let headers = try #require(first["headers"] as? [String: Any])
        #expect(headers["text"] as? String == "\"x\"" && headers["number"] as? Int == 7)
        #expect(headers["bytes"] as? String == "/w==" && headers["real"] as? Double == 1.5)
        #expect((headers["list"] as? [Any])?.count == 3)
        #expect(second["body_base64"] as? String == "/wA=" && second["body"] == nil)
    }

    @Test func aSignalIsTheEndThatWasAskedForUnlessACountWas() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        for (arguments, status) in [([], 0), (["--count", "5"], 130)] as [([String], Int32)] {
            try await place.send(["a"])
            let process = try ChildProcess(
                CommandPlace.program,
                ["receive", place.queue, "--url", place.url] + arguments,
                errors: place.path("errors")
            )
            var lines = process.lines().makeAsyncIterator()
            #expect(await lines.next() == "a")
            process.send(signal: SIGINT)
            #expect(await process.end() == .exit(status))
            #expect(try await place.messageCount() == 0)
        }
    }

    #if os(Linux)
        @Test func whatCannotBeWrittenIsAFailureAndComesAgain() async throws {
            let place = try await CommandPlace.make()
            defer { place.remove() }
            try await place.send(["a", "b"])
            let process = try ChildProcess(
                "/bin/sh",
                ["-c", "'\(CommandPlace.program)' receive \(place.queue) --url '\(place.url)' 2>&1 >/dev/full"]
            )
            let said = await process.lines().reduce(into: []) { $0.append($1) }
            #expect(await process.end() == .exit(1))
            #expect(said.count == 1 && said.first?.contains("standard output: No space left on device") == true)
            let again = try await place.take(2)
            #expect(again.map(\.text) == ["a", "b"] && again.first?.isRedelivered == true)
        }
    #endif

    /// A redrive has two clients.
    @Test(arguments: [
        ("receive", [], 0), ("redrive", ["rabbit-delivery: interrupted before there was a connection"], 130),
    ])
    func aBrokerThatIsAwayIsSaidSoOnceAndWaitedFor(_ command: String, _ last: [String], _ status: Int32) async throws {
        let place = try CommandPlace.nowhere()
        defer { place.remove() }
        let process = try ChildProcess(
            "/bin/sh",
            ["-c", "exec '\(CommandPlace.program)' \(command) any --url amqp://user:s3cret@127.0.0.1:1 2>&1"]
        )
        var lines = process.lines().makeAsyncIterator()
        let said = try #require(await lines.next())
        #expect(said.hasPrefix("rabbit-delivery: no connection: ") && said.hasSuffix("; trying again"))
        #expect(!said.contains("s3cret"))
        process.send(signal: SIGINT)
        // However often it was tried, it is said once.
        for line in last { #expect(await lines.next() == line) }
        #expect(await lines.next() == nil)
        #expect(await process.end() == .exit(status))
    }

    @Test func aQueueThatIsMissingIsSaidSo() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let received = try await place.run("receive", "no-such")
        #expect(received.end == .exit(1))
        #expect(received.output.isEmpty && received.errors.contains("no-such"))
    }

    @Test func aRedriveSaysWhatItWouldDoDoesItAndLeavesWhatIsNotWanted() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let dead = place.queue + "-dead"
        try await place.declare(.init(queues: [.init(dead)]))
        for (body, error) in [("1", "CardDeclined"), ("2", "Timeout")] {
            try await place.send(
                [body],
                to: dead,
                headers: [
                    "x-original-exchange": "", "x-original-routingKey": .string(place.queue),
                    "x-exception-message": .string(error),
                ]
            )
        }
        let preview = try await place.run("redrive", dead, "--error", "Card", "--dry-run")
        #expect(preview.end == .exit(0))
        #expect(preview.output.count == 2 && preview.output[0].hasPrefix("1. CardDeclined: would go to exchange ''"))
        #expect(preview.output[1] == "2. Timeout: stays: not wanted")
        #expect(preview.errors.contains("1 letter would be redriven, 1 left: 1 not wanted\n"))
        #expect(try await place.messageCount() == 0)
        let redriven = try await place.run("redrive", dead, "--error", "Card")
        #expect(redriven.end == .exit(0) && redriven.output.isEmpty)
        #expect(redriven.errors.contains("1 letter redriven, 1 left"))
        #expect(try await place.take(1).map(\.text) == ["1"])
        #expect(try await place.messageCount(dead, atLeast: 1) == 1)
    }

    @Test func aRedriveElsewhereKeepsEachLettersKeyAndEndsAtTheCountThatWasAskedFor() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let dead = place.queue + "-dead"
        try await place.declare(
            .init(
                exchanges: [.init(place.queue + "-in")],
                queues: [.init(dead)],
                bindings: [.init(queue: place.queue, to: place.queue + "-in", routingKey: "own")]
            )
        )
        let headers: RabbitTable = ["x-original-exchange": "gone", "x-original-routingKey": "own"]
        try await place.send(["1", "2", "3"], to: dead, headers: headers)
        let redriven = try await place.run("redrive", dead, "--to-exchange", "\(place.queue)-in", "--count", "2")
        #expect(redriven.end == .exit(0))
        #expect(redriven.errors.contains("2 letters redriven; not all were looked at"))
        #expect(try await place.take(2).map(\.text) == ["1", "2"])
        #expect(try await place.messageCount(dead, atLeast: 1) == 1)
    }

    @Test func definitionsOfOtherVirtualHostsAreLeftOut() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let definitions = """
            {"queues": [{"vhost": "\(place.broker.virtualHost)", "name": "\(place.queue)-mine"},
                        {"vhost": "elsewhere of another", "name": "\(place.queue)-other"}],
             "exchanges": [{"vhost": "elsewhere of another", "name": "\(place.queue)-in"}],
             "bindings": [{"vhost": "elsewhere of another", "source": "\(place.queue)-in",
                           "destination": "\(place.queue)-other"}]}
            """
        let declared = try await place.run("topology", "-", input: definitions)
        #expect(declared.end == .exit(0))
        #expect(declared.output == ["queue \(place.queue)-mine"])
    }

    @Test func onASignalARedriveEndsAndEachLetterIsInOnePlace() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        let dead = place.queue + "-dead"
        try await place.declare(.init(queues: [.init(dead)]))
        let headers: RabbitTable = ["x-original-exchange": "", "x-original-routingKey": .string(place.queue)]
        try await place.send(["1", "2", "3"], to: dead, headers: headers)
        // The first goes at once, and the next would in a thousand seconds.
        let process = try place.start("redrive", dead, "--rate", "0.001")
        #expect(try await place.take(1).map(\.text) == ["1"])
        process.send(signal: SIGINT)
        let end = await process.end()
        let errors = try place.text("errors")
        #expect(end == .exit(130), "\(errors)")
        #expect(errors.contains("1 letter redriven; not all were looked at; interrupted"))
        #expect(try await place.messageCount(dead, atLeast: 2) == 2)
        #expect(try await place.messageCount() == 0)
    }

    @Test func aTopologyIsDeclaredLookedAtAndComparedWithWhatIsThere() async throws {
        let place = try await CommandPlace.make()
        defer { place.remove() }
        func definitions(_ length: Int) -> String {
            """
            {"exchanges": [{"name": "\(place.queue)-in", "type": "topic"}],
             "queues": [{"name": "\(place.queue)-q", "arguments": {"x-max-length": \(length)}}],
             "bindings": [{"source": "\(place.queue)-in", "destination": "\(place.queue)-q", "routing_key": "new.#"}]}
            """
        }
        try place.write(definitions(10), "topology.json")
        try place.write(definitions(20), "other.json")
        let missing = try await place.run("topology", place.path("topology.json"), "--check")
        #expect(missing.end == .exit(1) && missing.errors.contains("\(place.queue)-in"))
        let declared = try await place.run("topology", place.path("topology.json"))
        #expect(declared.end == .exit(0))
        #expect(
            declared.output == [
                "exchange \(place.queue)-in", "queue \(place.queue)-q",
                "binding \(place.queue)-q to \(place.queue)-in new.#",
            ]
        )
        #expect(try await place.run("topology", "-", "--check", input: definitions(10)).end == .exit(0))
        let differs = try await place.run("topology", place.path("other.json"))
        #expect(differs.end == .exit(1))
        #expect(differs.errors.contains("10") && differs.errors.contains("20"))
        for (text, problem) in [
            ("{", "it is not JSON"), (#"{"queues": [{"nam": "x"}]}"#, "queues[0] has no name"),
            (#"{"exchanges": [{"name": 7}]}"#, "exchanges[0].name is of another kind than it has to be"),
        ] {
            let wrong = try await place.run("topology", "-", input: text)
            #expect(wrong.end == .exit(1))
            #expect(
                wrong.errors == "rabbit-delivery: standard input has no definitions in JSON: \(problem)\n"
            )
        }
        #expect(
            try await place.run("send", "--exchange", "\(place.queue)-in", "--key", "new.fruit", input: "x").end
                == .exit(0)
        )
        #expect(try await place.take(1, from: "\(place.queue)-q").map(\.text) == ["x"])
    }
}
