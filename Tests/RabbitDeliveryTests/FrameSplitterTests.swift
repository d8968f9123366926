import Foundation
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

    /// What a connection does with what it reads, without the connection.
    private static func digest(_ bytes: [UInt8]) throws(RabbitError) -> Int {
        var splitter = FrameSplitter()
        var assembler = ContentAssembler()
        let pool = AMQPPool()
        var rest = bytes[...]
        var held = 0
        while !rest.isEmpty {
            let part = rest.prefix(50_000)
            rest = rest.dropFirst(50_000)
            Self.feed(&splitter, part)
            while let frame = try splitter.next() {
                pool.recycle()
                switch frame.kind {
                case .heartbeat: break
                case .method:
                    let method = try ServerMethod(frame.payload, pool: pool)
                    switch method {
                    case .deliver, .returned: try assembler.begin(method)
                    default: break
                    }
                case .header:
                    if let (_, content) = try assembler.header(frame.payload, pool: pool) {
                        held += content.properties.withUnsafeBytes {
                            RabbitProperties(decoding: $0, pool: pool).headers.count
                        }
                    }
                case .body: held += try assembler.body(frame.payload)?.1.body.count ?? 0
                }
            }
        }
        return held
    }

    @Test func randomFramesAreErrorsAndNeverTraps() throws {
        let seed = UInt64.random(in: .min ... .max)
        var generator = SplitMix(seed: seed)
        let methods: [UInt32] = [
            0x000A_000A, 0x000A_0032, 0x000A_001E, 0x003C_003C, 0x003C_0032, 0x003C_0050, 0x0014_0028, 0x0032_000B,
            0x003C_001E, 0x000A_000B, 0x0032_000A, 0x0032_0014, 0x0028_000A, 0x003C_0014,
        ]
        var errors = 0
        // About a second; CONTRIBUTING says how to run it for a minute.
        for _ in 0..<FuzzRounds.count {
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let kind = [1, 1, 2, 3, 8].randomElement(using: &generator) ?? 1
                var payload = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                    // Letters of tables more often than chance has them.
                    Bool.random(using: &generator)
                        ? UInt8.random(in: 0...255, using: &generator)
                        : Array("FASxltbBuiIdDTV".utf8).randomElement(using: &generator) ?? 0
                }
                if kind == 1, let method = methods.randomElement(using: &generator), payload.count >= 4 {
                    for index in 0..<4 {
                        payload[index] = UInt8(truncatingIfNeeded: method >> (24 - 8 * UInt32(index)))
                    }
                }
                if kind == 2, payload.count > 14 {
                    payload.replaceSubrange(
                        0..<12,
                        with: [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, UInt8.random(in: 0...9, using: &generator)]
                    )
                }
                bytes += Self.frame(UInt8(kind), payload)
            }
            if Bool.random(using: &generator), let index = bytes.indices.randomElement(using: &generator) {
                bytes[index] = UInt8.random(in: 0...255, using: &generator)
            }
            do throws(RabbitError) {
                #expect(try Self.digest(bytes) <= bytes.count * 2, "seed \(seed)")
            } catch {
                #expect(error.kind == .protocolViolation, "seed \(seed)")
                errors += 1
            }
        }
        #expect(errors > 0)
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

/// How many random inputs are tried: `FUZZ_ROUNDS` where it is set.
enum FuzzRounds {
    static var count: Int {
        ProcessInfo.processInfo.environment["FUZZ_ROUNDS"].flatMap { Int($0) } ?? 5_000
    }
}

/// A generator with a seed that can be printed.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
