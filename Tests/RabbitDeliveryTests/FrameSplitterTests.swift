import Testing

@testable import RabbitDelivery

@Suite struct FrameSplitterTests {
    private static func feed(_ splitter: inout FrameSplitter, _ bytes: some Collection<UInt8>) {
        let space = splitter.space()
        let count = min(space.count, bytes.count)
        space.copyBytes(from: bytes.prefix(count))
        splitter.received(count)
    }

    private static func frame(_ kind: UInt8, _ payload: [UInt8]) -> [UInt8] {
        let count = UInt32(payload.count)
        return [kind, 0, 1] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: count >> $0) } + payload + [0xCE]
    }

    @Test func framesComeOutWholeHoweverTheyArrive() throws {
        var splitter = FrameSplitter()
        var seen: [Int] = []
        for byte in Self.frame(3, [1, 2, 3]) + Self.frame(8, []) + Self.frame(1, [9, 9]) {
            Self.feed(&splitter, [byte])
            while let frame = try splitter.next() { seen.append(frame.payload.count) }
        }
        #expect(seen == [3, 0, 2])
        #expect(splitter.pending == 0)
    }

    @Test func aFrameThatLiesAboutItsLengthIsAnErrorAndNothingGrows() {
        var splitter = FrameSplitter()
        Self.feed(&splitter, [1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF])
        #expect(throws: RabbitError.self) { _ = try splitter.next()?.channel }
        var short = FrameSplitter()
        var bytes = Self.frame(3, [1, 2, 3, 4])
        bytes[6] = 2
        Self.feed(&short, bytes)
        #expect(throws: RabbitError.self) { _ = try short.next()?.channel }
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\r\n", "AMQP\u{0}\u{0}\u{9}\u{1}", "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{28}",
    ])
    func aServerThatSpeaksSomethingElseIsNamedSo(_ answer: String) {
        var splitter = FrameSplitter()
        Self.feed(&splitter, Array(answer.utf8))
        let error = #expect(throws: RabbitError.self) { _ = try splitter.next()?.channel }
        #expect(error?.kind == .protocolViolation)
    }

    private static func deepHeader(flags: [UInt8]) -> [UInt8] {
        // 25,000 arrays in each other, in a frame of 128 KiB: enough to exhaust a thread's stack.
        var inside: [UInt8] = []
        for _ in 0..<25_000 {
            let count = UInt32(inside.count)
            inside = [UInt8(ascii: "A")] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: count >> $0) } + inside
        }
        let entry: [UInt8] = [1, UInt8(ascii: "h")] + inside
        let count = UInt32(entry.count)
        let table = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: count >> $0) } + entry
        let header: [UInt8] = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] + flags + table
        return header
    }

    @Test(arguments: [[0x20, 0], [0x20, 1, 0, 0, 0, 0, 0, 0]] as [[UInt8]])
    func aMessageWhoseTablesAreTooDeepComesWithoutPropertiesAndLibrabbitmqNeverSeesThem(_ flags: [UInt8]) throws {
        let header = Self.deepHeader(flags: flags)
        var assembler = ContentAssembler()
        try assembler.begin(
            .deliver(.init(tag: 1, isRedelivered: false, exchange: "", routingKey: ""))
        )
        let content = try header.withUnsafeBytes { try assembler.header($0, pool: AMQPPool())?.1 }
        #expect(content?.hasUnreadableProperties == true)
        #expect(content?.properties == [])
        // One that came back is ours, and was never so deep.
        try assembler.begin(.returned(.init(code: 312, text: "NO_ROUTE", exchange: "", routingKey: "")))
        let error = #expect(throws: RabbitError.self) {
            _ = try header.withUnsafeBytes { try assembler.header($0, pool: AMQPPool())?.1.body.count }
        }
        #expect(error?.kind == .protocolViolation)
    }

    @Test func whatOnlyClientsSayIsRefusedBeforeLibrabbitmqSeesItsTables() throws {
        let table = Self.deepHeader(flags: []).dropFirst(12)
        // queue.declare: ticket, name, flags, arguments.
        let payload: [UInt8] = [0, 50, 0, 10, 0, 0, 0, 0] + table
        let error = #expect(throws: RabbitError.self) {
            try payload.withUnsafeBytes { _ = try ServerMethod($0, pool: AMQPPool()) }
        }
        #expect(error?.reason.contains("only a client sends") == true)
    }
}
