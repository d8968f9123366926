import Foundation
import KafkaDeliveryTesting
import Testing

/// What the relay does to bytes, whatever they mean.
@Suite(.timeLimit(.minutes(5)))
struct FaultRelaySocketTests {
    private let server: PlainSocket.Server
    private let relay: FaultRelay

    init() throws {
        server = try PlainSocket.Server.echo()
        relay = try FaultRelay(seed: 7)
    }

    private func connect() throws -> PlainSocket {
        try PlainSocket(port: relay.port(for: "127.0.0.1", port: server.port))
    }

    @Test func bytesPassUnchangedInBothDirections() async throws {
        let sent = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
        let socket = try connect()
        let sending = Task { try await onThread { try socket.send(sent) } }
        let received = try await onThread { socket.receive(sent.count) }
        try await sending.value
        #expect(received == sent)
        #expect(relay.statistics.requestBytes == sent.count)
        #expect(relay.statistics.responseBytes == sent.count)
        #expect(relay.statistics.cuts == 0)
    }

    @Test func anEndThatSaysItIsDoneIsPassedOnAndTheOtherMayGoOn() async throws {
        let heard = Shared<[UInt8]>([])
        let server = try PlainSocket.Server { socket in
            let bytes = socket.receive(.max >> 1)
            heard.change { $0 = bytes }
            try? socket.send([4, 5])
        }
        let socket = try PlainSocket(port: relay.port(for: "localhost", port: server.port))
        let answer = try await onThread {
            try socket.send([1, 2, 3])
            socket.finishWriting()
            return socket.receive(10)
        }
        #expect(heard.value == [1, 2, 3])
        #expect(answer == [4, 5])
        try await waitUntil { relay.statistics.openConnections == 0 }
    }

    @Test func whatWasSentBeforeAnEndBrokeIsPassedOn() async throws {
        let heard = Shared<[UInt8]?>(nil)
        let server = try PlainSocket.Server { socket in
            try? socket.send([0])
            let bytes = socket.receive(.max >> 1)
            heard.change { $0 = bytes }
        }
        relay.faults.requests.delay = .milliseconds(50)
        do {
            let socket = try PlainSocket(port: relay.port(for: "localhost", port: server.port))
            try await waitUntil { relay.statistics.responseBytes == 1 }
            try await onThread { try socket.send([1, 2, 3]) }
            // Closed with something unread, which breaks the connection (RST) instead of ending it.
        }
        try await heard.wait { $0 != nil }
        #expect(heard.value == [1, 2, 3])
        try await waitUntil { relay.statistics.openConnections == 0 }
    }

    @Test func aDelayHoldsBytesBackInItsDirection() async throws {
        relay.faults.requests.delay = .milliseconds(60)
        relay.faults.responses.delay = .milliseconds(40)
        relay.faults.responses.jitter = .milliseconds(20)
        let socket = try connect()
        let start = ContinuousClock.now
        let answer = try await onThread {
            try socket.send([1])
            return socket.receive(1)
        }
        #expect(answer == [1])
        #expect(start.duration(to: .now) >= .milliseconds(100))
    }

    @Test func jitterKeepsTheOrder() async throws {
        relay.faults.requests.jitter = .milliseconds(5)
        let socket = try connect()
        let sent = (0..<200).map { UInt8($0) }
        let sending = Task { try await onThread { for byte in sent { try socket.send([byte]) } } }
        let received = try await onThread { socket.receive(sent.count) }
        try await sending.value
        #expect(received == sent)
    }

    @Test func throughputIsLimited() async throws {
        relay.faults.requests.bytesPerSecond = 200_000
        let socket = try connect()
        let start = ContinuousClock.now
        let received = try await onThread {
            try socket.send([UInt8](repeating: 1, count: 40_000))
            return socket.receive(40_000)
        }
        #expect(received.count == 40_000)
        // The last piece, of a fiftieth of a second, is not waited for.
        #expect(start.duration(to: .now) >= .milliseconds(180))
    }

    @Test func aConnectionIsCutAfterExactlySoManyBytes() async throws {
        let heard = Shared<[UInt8]?>(nil)
        let server = try PlainSocket.Server { socket in
            let bytes = socket.receive(.max >> 1)
            heard.change { $0 = bytes }
        }
        relay.faults.requests.cutsAfterBytes = 1_000
        let socket = try PlainSocket(port: relay.port(for: "127.0.0.1", port: server.port))
        let answer = try await onThread {
            try? socket.send([UInt8](repeating: 9, count: 5_000))
            return socket.receive(1)
        }
        #expect(answer.isEmpty)
        try await heard.wait { $0 != nil }
        #expect(heard.value == [UInt8](repeating: 9, count: 1_000))
        try await waitUntil { relay.statistics.cuts == 1 }
    }

    @Test func cuttingNowCutsWhatIsOpenAndNothingLater() async throws {
        let sockets = try [connect(), connect()]
        for socket in sockets {
            let answer = try await onThread {
                try socket.send([1])
                return socket.receive(1)
            }
            #expect(answer == [1])
        }
        relay.cutConnections()
        for socket in sockets {
            #expect(try await onThread { socket.receive(1) }.isEmpty)
        }
        let later = try connect()
        let answer = try await onThread {
            try later.send([2])
            return later.receive(1)
        }
        #expect(answer == [2])
        try await waitUntil { relay.statistics.cuts == 2 }
        #expect(relay.statistics.openConnections == 1)
    }

    @Test func aBlackHoleHoldsEverythingUntilItIsClosed() async throws {
        let socket = try connect()
        relay.faults.responses.isBlackHole = true
        try await onThread { try socket.send([1, 2, 3]) }
        try await waitUntil { relay.statistics.requestBytes == 3 }
        #expect(try await onThread { socket.isSilent(for: .milliseconds(100)) })
        relay.faults.responses.isBlackHole = false
        #expect(try await onThread { socket.receive(3) } == [1, 2, 3])
    }

    @Test func lostAnswersLetWhatWasAskedPass() async throws {
        let heard = Shared(0)
        let server = try PlainSocket.Server { socket in
            while true {
                let bytes = socket.receiveSome()
                if bytes.isEmpty { break }
                heard.change { $0 += bytes.count }
                try? socket.send(bytes)
            }
        }
        let socket = try PlainSocket(port: relay.port(for: "127.0.0.1", port: server.port))
        let before = try await onThread {
            try socket.send([1])
            return socket.receive(1)
        }
        #expect(before == [1])
        relay.loseResponses(thenCutAfter: nil)
        try await waitUntil { relay.statistics.lostResponses == 1 }
        try await onThread { try socket.send([2, 3]) }
        try await heard.wait { $0 == 3 }
        #expect(try await onThread { socket.isSilent(for: .milliseconds(50)) })
        #expect(relay.statistics.cuts == 0)
        relay.cutConnections()
        #expect(try await onThread { socket.receive(1) }.isEmpty)
        #expect(relay.statistics.responseBytes == 1)
    }

    @Test func aConnectionWithLostAnswersIsCutAfterAWhile() async throws {
        let socket = try connect()
        let answer = try await onThread {
            try socket.send([1])
            return socket.receive(1)
        }
        #expect(answer == [1])
        relay.loseResponses(thenCutAfter: .milliseconds(10))
        #expect(try await onThread { socket.receive(1) }.isEmpty)
        try await waitUntil { relay.statistics.cuts == 1 }
    }

    /// One byte at a time, so that reads do not depend on the system.
    @Test func theSameSeedCutsAtTheSamePlaces() async throws {
        func places(seed: UInt64) async throws -> [Int] {
            let relay = try FaultRelay(seed: seed)
            relay.faults.requests.meanBytesBetweenCuts = 20
            let port = try relay.port(for: "127.0.0.1", port: server.port)
            return try await onThread {
                try (0..<8).map { _ in
                    let socket = try PlainSocket(port: port)
                    var count = 0
                    while (try? socket.send([0])) != nil, socket.receive(1).count == 1 { count += 1 }
                    return count
                }
            }
        }
        let first = try await places(seed: 1)
        #expect(try await places(seed: 1) == first)
        #expect(try await places(seed: 2) != first)
        #expect(Set(first).count > 1)
    }

    /// A sender that is not read waits, and the relay does not keep what it sends.
    @Test func whatIsHeldIsBounded() async throws {
        let end = DispatchSemaphore(value: 0)
        // Reads nothing.
        let server = try PlainSocket.Server { _ in end.wait() }
        let socket = try PlainSocket(port: relay.port(for: "127.0.0.1", port: server.port))
        let sending = Task { try await onThread { try? socket.send([UInt8](repeating: 0, count: 64 << 20)) } }
        try await waitUntil { relay.statistics.requestBytes > 1 << 20 }
        var last = 0
        repeat {
            last = relay.statistics.requestBytes
            // As long as another connection takes to go there and back a few times.
            let other = try PlainSocket(port: relay.port(for: "127.0.0.1", port: self.server.port))
            for _ in 0..<50 {
                _ = try await onThread {
                    try other.send([1])
                    return other.receive(1)
                }
            }
        } while relay.statistics.requestBytes > last + 200
        #expect(relay.statistics.requestBytes < 32 << 20)
        end.signal()
        await relay.shutdown()
        _ = await sending.result
    }

    @Test func afterShutdownNothingIsOpen() async throws {
        let socket = try connect()
        let port = try relay.port(for: "127.0.0.1", port: server.port)
        await relay.shutdown()
        #expect(try await onThread { socket.receive(1) }.isEmpty)
        #expect(throws: TestFailure.self) { try PlainSocket(port: port) }
        #expect(throws: FaultRelay.Failure.self) { try relay.port(for: "127.0.0.1", port: server.port) }
        #expect(relay.statistics.openConnections == 0)
        await relay.shutdown()
    }

    @Test func impossibleAddressesAreRefused() {
        #expect(throws: FaultRelay.Failure.self) { try relay.port(for: "127.0.0.1", port: 0) }
        #expect(throws: FaultRelay.Failure.self) { try relay.port(for: "127.0.0.1", port: 70_000) }
        #expect(throws: FaultRelay.Failure.self) { try relay.port(for: "", port: -1) }
    }
}
