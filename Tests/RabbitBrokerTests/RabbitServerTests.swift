import DeliverySystem
import DeliveryTesting
import RabbitDelivery
import RabbitDeliveryTesting
import Synchronization
import Testing

/// The broker that tests are given.
@Suite(.timeLimit(.minutes(15))) struct RabbitServerTests {
    @Test func oneWhosePortAnotherProgramHasTakenMeanwhileIsStartedOnOthers() async throws {
        // It does not listen, and lets no other program have its port.
        let (descriptor, port) = try Loopback.bind()
        defer { _ = close(descriptor) }
        let asked = Mutex(0)
        let server = try await RabbitServer.start {
            var ports = try BrokerPorts.free()
            let isFirst = asked.withLock { asked in
                asked += 1
                return asked == 1
            }
            if isFirst { ports.plain = port }
            return ports
        }
        #expect(asked.withLock { $0 } == 2)
        let publisher = try RabbitPublisher(
            .init(server.broker, topology: .init(queues: [.init("any")])),
            logger: quiet
        )
        try await publisher.send(RabbitMessage(queue: "any", body: ""))
        await publisher.close()
    }

    @Test func aStartThatFailedIsNotKeptForTheNextWhoAsks() async throws {
        let asked = Mutex(0)
        let shared = SharedServer {
            let isFirst = asked.withLock { asked in
                asked += 1
                return asked == 1
            }
            if isFirst { throw Broken() }
            return try await RabbitServer.shared()
        }
        await #expect(throws: Broken.self) { try await shared.server() }
        let server = try await shared.server()
        #expect(try await shared.server() === server)
        #expect(asked.withLock { $0 } == 2)
    }

    // All calls have the same name as nodes of Erlang.
    @Test func aCallThatFindsTheNameOfTheOneBeforeTakenIsMadeAgain() async throws {
        let server = try await RabbitServer.shared()
        guard server.canBeHarmed else { return }
        let other = """
            "echo 'timer:sleep(500).' | erl_call -e -sname " ++ atom_to_list(node()) ++ " -c " ++ atom_to_list(erlang:get_cookie())
            """
        _ = try await server.evaluate(
            """
            spawn(fun() ->
                Again = fun Again() ->
                    case os:cmd(\(other)) of "{ok" ++ _ -> persistent_term:put(name_was_taken, true); _ -> Again() end
                end,
                Again()
            end).
            """
        )
        while try await !server.evaluate("persistent_term:get(name_was_taken, false).").contains("true") {}
    }
}
