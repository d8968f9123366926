import Testing

@testable import RabbitDelivery

@Suite struct CodingTests {
    // Made anew by each test: what a global value keeps, the leak sanitizer does not find.
    private static var everything: RabbitTable {
        [
            "t": .bool(true), "b": .int8(-8), "B": .uint8(200), "s": .int16(-1_600), "u": .uint16(60_000),
            "I": .int32(-320_000),
            "i": .uint32(4_000_000_000), "l": .int64(.min), "f": .float(1.5), "d": .double(-2.25),
            "D": .decimal(scale: 2, value: 314),
            "S": "text ✓", "x": .bytes([0, 255, 206]), "T": .timestamp(.init(secondsSince1970: 1_700_000_000)),
            "F": ["inner": ["a", 1, ["deep": .void]]], "A": .array([]), "V": .void,
        ]
    }

    @Test func ofANameThatIsGivenTwiceTheLastValueCountsAtTheFirstsPlace() {
        let table = RabbitTable([("a", .int8(1)), ("b", .int8(2)), ("a", .int8(3))])
        #expect(table.entries.map(\.name) == ["a", "b"])
        #expect(table["a"] == .int8(3))
        let many = RabbitTable((0..<100_000).map { ("header-\($0)", .int32(Int32($0))) })
        #expect(many.count == 100_000 && many.entries.last?.value == .int32(99_999))
    }

    @Test func propertiesAndHeadersOfEveryTypeComeBackAsTheyWere() throws {
        var properties = RabbitProperties(headers: Self.everything, isPersistent: true)
        properties.contentType = "text/plain"
        properties.contentEncoding = "identity"
        properties.priority = 9
        properties.correlationID = "correlation"
        properties.replyTo = "answers"
        properties.expiration = .milliseconds(60_000)
        properties.messageID = "id"
        properties.timestamp = .init(secondsSince1970: 1_700_000_001)
        properties.type = "order"
        properties.userID = "guest"
        properties.appID = "tests"
        properties.clusterID = "cluster"
        let pool = AMQPPool()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4_096, alignment: 1)
        defer { memory.deallocate() }
        let size = properties.encode(sequence: 7, into: memory, pool: pool)
        let count = try #require(size)
        let encoded = UnsafeRawBufferPointer(rebasing: memory[..<count])
        let canDecode = RabbitProperties.canDecode(encoded, pool: pool)
        let sequence = RabbitProperties.sequence(in: encoded, pool: pool)
        let decoded = RabbitProperties(decoding: encoded, pool: pool)
        #expect(canDecode)
        #expect(sequence == 7)
        #expect(decoded == properties)
    }

    @Test func whatDoesNotFitIsNotEncoded() {
        let pool = AMQPPool()
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 1)
        defer { memory.deallocate() }
        let properties = RabbitProperties(headers: ["long": .string(String(repeating: "x", count: 100))])
        let size = properties.encode(sequence: nil, into: memory, pool: pool)
        #expect(size == nil)
        let method = ClientMethod.consume(
            queue: String(repeating: "q", count: 200),
            tag: "",
            isExclusive: false,
            arguments: [:]
        )
        let methodSize = method.encode(into: memory, pool: pool)
        #expect(methodSize == nil)
    }

    @Test(arguments: [
        RabbitMessage(exchange: String(repeating: "e", count: 256), routingKey: "", body: ""),
        RabbitMessage(routingKey: String(repeating: "k", count: 256), body: ""),
        RabbitMessage(routingKey: "k", body: "", properties: .init(headers: [String(repeating: "h", count: 256): 1])),
        RabbitMessage(routingKey: "k", body: "", properties: .init(headers: ["deep": Self.deep(40)])),
        RabbitMessage(routingKey: "k", body: String(repeating: "b", count: 101)),
    ])
    func aMessageThatCannotTravelIsRefusedBeforeItIsSent(_ message: RabbitMessage) {
        let fault = message.fault(maximumBodyBytes: 100)
        #expect(fault?.persistence == .notPersisted)
        #expect(fault?.recovery == .fixRequest)
    }

    static func deep(_ levels: Int) -> RabbitFieldValue {
        (0..<levels).reduce(.void) { inside, _ in .array([inside]) }
    }

    @Test func theGreetingNegotiatesTheSmallerOfBoth() throws {
        var broker = RabbitBroker(hosts: ["host"])
        broker.credentials = .amqplain(userName: "u", password: "p")
        var handshake = Handshake(broker, connectionName: "test")
        let first = try handshake.advance(.start(mechanisms: "PLAIN AMQPLAIN", properties: [:]))
        guard case .send(.startOk(let properties, "AMQPLAIN", let response)) = first.first else {
            Issue.record("\(first)")
            return
        }
        #expect(properties["capabilities"]?.table?["connection.blocked"] == true)
        #expect(response == Array("\u{5}LOGINS\0\0\0\u{1}u\u{8}PASSWORDS\0\0\0\u{1}p".utf8))
        let second = try handshake.advance(.tune(channelMaximum: 2_047, frameMaximum: 65_536, heartbeat: 60))
        #expect(second.first == .tune(frameMaximum: 65_536, heartbeat: 20))
        #expect(try handshake.advance(.openOk) == [.done])
    }

    @Test func aLoginThatIsRefusedIsAnAuthenticationErrorAndOneThatAnOldBrokerHangsUpOnToo() throws {
        var handshake = Handshake(RabbitBroker(hosts: ["host"]), connectionName: "test")
        let none = #expect(throws: RabbitError.self) {
            var other = handshake
            _ = try other.advance(.start(mechanisms: "EXTERNAL", properties: [:]))
        }
        #expect(none?.kind == .authentication)
        _ = try handshake.advance(.start(mechanisms: "PLAIN", properties: [:]))
        #expect(handshake.endOfStream.kind == .authentication)
        let refused = #expect(throws: RabbitError.self) {
            try handshake.advance(.connectionClose(.init(code: 403, text: "ACCESS_REFUSED")))
        }
        #expect(refused?.kind == .authentication)
        #expect(refused?.code == 403)
    }

    @Test func aBrokerThatGoesAwayDuringTheLoginIsTriedAgain() throws {
        var handshake = Handshake(RabbitBroker(hosts: ["host"]), connectionName: "test")
        let says: RabbitTable = ["capabilities": ["authentication_failure_close": true]]
        _ = try handshake.advance(.start(mechanisms: "PLAIN", properties: says))
        #expect(handshake.endOfStream.kind == .connectionLost)
        #expect(handshake.endOfStream.recovery == .retry)
        let stopped = #expect(throws: RabbitError.self) {
            try handshake.advance(.connectionClose(.init(code: 320, text: "CONNECTION_FORCED")))
        }
        #expect(stopped?.recovery == .retry)
    }

    @Test func aPropertyThatDoesNotFitIsNamedBeforeAnythingIsSent() {
        let names: [(WritableKeyPath<RabbitProperties, String?>, String)] = [
            (\.contentType, "content type"), (\.contentEncoding, "content encoding"),
            (\.correlationID, "correlation id"), (\.replyTo, "reply-to"), (\.messageID, "message id"), (\.type, "type"),
            (\.userID, "user id"), (\.appID, "app id"), (\.clusterID, "cluster id"),
        ]
        for (property, name) in names {
            var properties = RabbitProperties()
            properties[keyPath: property] = String(repeating: "x", count: 255)
            #expect(properties.fault == nil)
            properties[keyPath: property] = String(repeating: "x", count: 256)
            #expect(properties.fault?.reason == "the \(name) has more than 255 bytes")
            #expect(properties.fault?.persistence == .notPersisted)
        }
    }

    @Test func namesOfHeadersThatAreTooLongAreFoundHoweverDeep() {
        let long: RabbitTable = [String(repeating: "x", count: 256): 1]
        #expect(RabbitProperties(headers: ["a": ["b": [["c": 1]]]]).fault == nil)
        for headers: RabbitTable in [long, ["a": .table(long)], ["a": .array([1, .table(["b": .table(long)])])]] {
            #expect(RabbitProperties(headers: headers).fault?.kind == .invalidArgument)
        }
    }
}
