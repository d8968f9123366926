import Testing

@testable import RabbitDelivery

@Suite struct HostRotationTests {
    @Test func aHostThatFailsAfterTheLoginLeavesTheNextAttemptToAnother() throws {
        let hosts = [try RabbitHost("127.0.0.1", defaultPort: 1), try RabbitHost("127.0.0.2", defaultPort: 2)]
        var generator = SplitMix(seed: 7)
        var rotation = HostRotation(hosts, using: &generator)
        guard case .lookUp(let first) = rotation.next() else {
            Issue.record("no host is looked up")
            return
        }
        rotation.found(try SocketAddress.lookUp(first).get())
        guard case .connect(_, first) = rotation.next() else {
            Issue.record("it is not connected to")
            return
        }
        // The login went well, and then the connection did not hold.
        rotation.connected()
        rotation.failed(.connectionLost("the topology is refused there"))
        guard case .lookUp(let second) = rotation.next() else {
            Issue.record("no other host is looked up")
            return
        }
        #expect(second != first)
    }

    @Test func whatIsExclusiveMayStillBeTheClientsOwnFormerConnections() {
        let text = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue"
        #expect(RabbitError.setupReply(405, text, closing: .channelClosed).recovery == .fixRequest)
        #expect(RabbitError.setupReply(405, text, closing: .channelClosed, isResuming: true).recovery == .retry)
        let limit = "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (2) is reached"
        #expect(RabbitError.reply(530, limit, closing: .connectionLost).recovery == .retry)
    }
}
