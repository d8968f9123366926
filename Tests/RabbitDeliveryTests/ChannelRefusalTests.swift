import DeliveryCore
import Testing

@testable import RabbitDelivery

/// What the broker's words for closing a channel mean for those who were under way on it, and for the client.
@Suite struct ChannelRefusalTests {
    /// Loses a channel with messages under way, by the broker's words.
    ///
    /// - Returns: For which messages it was.
    private static func refused(_ messages: [RabbitMessage], _ code: Int, _ text: String) -> [Int] {
        var thread = PublisherThread(.init(hosts: ["localhost"]))
        thread.take(
            messages.map { message in
                QueuedSend(
                    message: message,
                    target: .slot(SendSlot()),
                    accepted: .now,
                    deadline: Moment.now.advanced(by: .seconds(60))
                )
            }
        )
        var done = FinishedSends()
        thread.encode(to: Wire(), maximumBacklog: 100_000, &done)
        thread.channelLost(.reply(code, text, closing: .channelClosed), &done)
        #expect(done.sends.count == messages.count)
        return done.sends.enumerated().compactMap { index, send in
            guard case .failure(let error) = send.1 else { return nil }
            #expect(error.persistence == .possiblyPersisted && error.code == code)
            return error.recovery == .retry ? nil : index
        }
    }

    private static func message(_ exchange: String, _ key: String) -> RabbitMessage {
        RabbitMessage(exchange: exchange, routingKey: key, body: "")
    }

    @Test(arguments: ["", "write "])
    func aTopicThatIsNotAllowedIsTheFaultOfTheMessagesForItAndNotOfTheirExchange(_ permission: String) {
        var copied = Self.message("shop", "new.fruit")
        copied.properties.headers["CC"] = ["audit", "secret.fruit"]
        let messages = [
            Self.message("shop", "new.fruit"), Self.message("shop", "secret.fruit"),
            Self.message("other", "secret.fruit"), Self.message("shop", "secret.fruit.green"),
            Self.message("shop", "secret"), copied,
        ]
        let text =
            "ACCESS_REFUSED - \(permission)access to topic 'secret.fruit' in exchange exchange 'shop' in vhost '/' refused"
            + " for user 'guest'"
        #expect(Self.refused(messages, 403, text) == [1, 5])
    }

    @Test func anExchangeThatIsMissingOrNotAllowedIsTheFaultOfAllItsMessages() {
        let messages = [Self.message("shop", "a"), Self.message("other", "a"), Self.message("shop", "b")]
        let refused = "ACCESS_REFUSED - write access to exchange 'shop' in vhost '/' refused for user 'guest'"
        #expect(Self.refused(messages, 403, refused) == [0, 2])
        #expect(Self.refused(messages, 404, "NOT_FOUND - no exchange 'shop' in vhost '/'") == [0, 2])
    }

    @Test func aUserIDThatIsNotTheConnectionsIsTheFaultOfTheMessagesThatHaveIt() {
        let messages = [nil, "guest", "another", "anoth", "another one"].map { userID in
            var message = Self.message("shop", "a")
            message.properties.userID = userID
            return message
        }
        let text = "PRECONDITION_FAILED - user_id property set to 'another' but authenticated user was 'guest'"
        #expect(Self.refused(messages, 406, text) == [2])
        #expect(Self.refused(messages, 406, "PRECONDITION_FAILED - invalid expiration 'x'") == [])
    }

    @Test func whatHadNoRoomInTheBrokersWordsIsToldByItsBeginning() {
        // 252 bytes and three dots, and the last character in two.
        let lead = "ACCESS_REFUSED - write access to topic '"
        let long = String(repeating: "x", count: 251 - lead.utf8.count) + "éé"
        let others = ["x", "y" + long, String(repeating: "x", count: 255)]
        let messages = ([long] + others).map { Self.message("shop", $0) }
        let bytes = Array((lead + long + "' in exchange exchange 'shop' in vhost '/'").utf8.prefix(252))
        let text = String(decoding: bytes, as: UTF8.self) + "..."
        #expect(Self.refused(messages, 403, text) == [0, 3])
    }

    /// As `rabbit_amqqueue` says it.
    @Test(
        arguments: [
            ("home node 'rabbit@b' of durable queue 'orders' in vhost '/' is down or inaccessible", true),
            ("queue 'orders' in vhost '/' process is stopped by supervisor", true),
            ("queue 'orders' in vhost '/' has crashed and failed to restart", true),
            ("failed to perform operation on queue 'orders' in vhost '/' due to timeout", true),
            (
                "failed to perform operation on queue 'orders' in vhost '/': its master replica <0.1.0> may be stopping or being"
                    + " demoted", true
            ),
            ("no queue 'orders' in vhost '/'", false),
            ("no exchange 'orders' in vhost '/'", false),
        ]
    )
    func aQueueThatIsOnlyAwayEndsNoClientAndOneThatIsNotThereDoes(_ text: String, isTransient: Bool) throws {
        var setup = ChannelSetup([.queueDeclare(.init("orders"), passive: true)])
        _ = try setup.advance(.channelOpenOk)
        let closing = ServerMethod.Closing(code: 404, text: "NOT_FOUND - \(text)")
        let error = #expect(throws: RabbitError.self) { try setup.advance(.channelClose(closing)) }
        #expect(error?.recovery == (isTransient ? .retry : .fixRequest))
        #expect(error?.kind == (isTransient ? .channelClosed : .notFound))
        #expect(error?.code == 404)
        #expect(error?.reason.contains("looking for queue orders") == true)
    }

    @Test func wordsOfTheBrokerThatEndASentenceEndItOnce() {
        let error = RabbitError.reply(403, "ACCESS_REFUSED - see the logfile.", closing: .channelClosed)
        #expect(
            "\(error)" == "Change the request: the broker says ACCESS_REFUSED - see the logfile. (AMQP: 403)"
        )
    }
}
