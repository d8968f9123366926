import Foundation
import Testing

@testable import RabbitDelivery

/// Random frames, and frames of a broker in which random bytes are others, to everything that reads what a broker says.
///
/// For two seconds, or as many as `FUZZ_SECONDS` says; `FUZZ_SEED` repeats what a seed that was printed gave.
@Suite struct ReaderFuzzTests {
    @Test func whateverFramesHoldTheyAreReadOrRefusedAndNothingTrapsOrGrows() async throws {
        let environment = ProcessInfo.processInfo.environment
        let seed = environment["FUZZ_SEED"].flatMap { UInt64($0) } ?? .random(in: .min ... .max)
        let seconds = environment["FUZZ_SECONDS"].flatMap { Double($0) } ?? 2
        // Before anything can trap, and written at once.
        FileHandle.standardError.write(Data("The reader's random frames: FUZZ_SEED=\(seed)\n".utf8))
        // A thread of its own: a minute on one of Swift's would be missing for every other test.
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Found, any Error>, Never>) in
            Thread.detachNewThread {
                continuation.resume(returning: Result { try Self.fuzz(seed: seed, for: .seconds(seconds)) })
            }
        }
        let found = try result.get()
        print("The reader's random frames: \(found.read) times read, \(found.refused) times refused")
        #expect(found.faults == [], "FUZZ_SEED=\(seed)")
        #expect(found.read > 0 && found.refused > 0)
    }

    private struct Found: Sendable {
        var read = 0
        var refused = 0
        /// What was wrong, at most ten.
        var faults: [String] = []
    }

    private static func fuzz(seed: UInt64, for duration: Duration) throws -> Found {
        let consumer = try RabbitConsumer(.init(hosts: ["localhost"], queue: "any"))
        var source = FrameSource(seed: seed)
        var found = Found()
        let end = ContinuousClock.now + duration
        while ContinuousClock.now < end, found.faults.count < 10 {
            let bytes = source.next()
            do throws(RabbitError) {
                var reader = Reader(consumer)
                try reader.read(bytes)
                found.read += 1
                if reader.held > 2 * bytes.count {
                    found.faults.append("of \(bytes.count) bytes \(reader.held) are held: \(bytes)")
                }
            } catch {
                found.refused += 1
                if error.kind != .protocolViolation { found.faults.append("\(error): \(bytes)") }
            }
        }
        return found
    }
}

/// What a publisher's and a consumer's connection do with what they read, without the connections.
private struct Reader: ~Copyable {
    private var splitter = FrameSplitter()
    private var assembler = ContentAssembler()
    private let pool = AMQPPool()
    private let recent = RecentNames()
    private let wire = Wire()
    private var publisher: PublisherThread
    private var deliveries = DeliveryQueue(isStream: true)
    /// How many bytes of messages and entries of tables are held.
    private(set) var held = 0

    init(_ consumer: RabbitConsumer) {
        publisher = PublisherThread(.init(hosts: ["localhost"]))
        deliveries.begin(ChannelGeneration(1, consumer.core))
        // Two messages that are not confirmed, for the broker to answer.
        var done = FinishedSends()
        for body in ["one", "two"] {
            let send = QueuedSend(
                message: RabbitMessage(queue: "any", body: body),
                target: .slot(SendSlot()),
                accepted: .now,
                deadline: Moment.now.advanced(by: .seconds(60))
            )
            publisher.take([send])
        }
        publisher.encode(to: wire, maximumBacklog: 100_000, &done)
    }

    mutating func read(_ bytes: [UInt8]) throws(RabbitError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let space = splitter.space()
            let part = rest.prefix(min(space.count, 50_000))
            space.copyBytes(from: part)
            splitter.received(part.count)
            rest = rest.dropFirst(part.count)
            while let frame = try splitter.next() { try take(frame) }
        }
        _ = publisher.takeAnswered()
    }

    private mutating func take(_ frame: ReceivedFrame) throws(RabbitError) {
        pool.recycle()
        switch frame.kind {
        case .heartbeat: break
        case .method:
            let method = try ServerMethod(frame.payload, pool: pool, recent: recent)
            switch method {
            case .deliver, .returned: try assembler.begin(method)
            case .ack, .nack: try publisher.received(method, nil, wire)
            case .start: _ = try handshake(method)
            default: break
            }
        case .header: if let whole = try assembler.header(frame.payload, pool: pool) { try take(whole) }
        case .body: if let whole = try assembler.body(frame.payload) { try take(whole) }
        }
    }

    private func handshake(_ method: ServerMethod) throws(RabbitError) -> [Handshake.Action] {
        var handshake = Handshake(RabbitBroker(hosts: ["localhost"]), connectionName: "fuzz")
        do throws(RabbitError) {
            return try handshake.advance(method)
        } catch {
            // A broker may well offer no login that is known here.
            guard error.kind == .authentication else { throw error }
            return []
        }
    }

    private mutating func take(_ message: (ServerMethod, ReceivedContent)) throws(RabbitError) {
        let (method, content) = message
        held += content.body.count
        if case .deliver(let deliver) = method {
            _ = try deliveries.add([(deliver, content)])
            guard case .success(let received?) = deliveries.next() else { return }
            held += received.properties.headers.entries.count
        } else {
            try publisher.received(method, content, wire)
        }
    }
}

/// Frames: whole messages as a broker sends them, random ones, and with other bytes here and there.
private struct FrameSource {
    private var generator: SplitMix
    private var nextTag: UInt64 = 1

    private static let methods: [MethodID] = [
        .connectionStart, .connectionStartOk, .connectionTune, .connectionOpen, .connectionClose, .connectionBlocked,
        .channelFlow, .channelClose, .exchangeDeclare, .exchangeBind, .queueDeclare, .queueDeclareOk, .queueBind,
        .basicConsume, .basicConsumeOk, .basicCancel, .basicPublish, .basicReturn, .basicDeliver, .basicAck, .basicNack,
    ]

    init(seed: UInt64) { generator = SplitMix(seed: seed) }

    mutating func next() -> [UInt8] {
        nextTag = 1
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            bytes += Bool.random(using: &generator) ? message() : randomFrame()
        }
        for _ in 0..<Int.random(in: 0...3, using: &generator) {
            guard let index = bytes.indices.randomElement(using: &generator) else { break }
            bytes[index] = UInt8.random(in: 0...255, using: &generator)
        }
        return bytes
    }

    private func big(_ number: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    private func frame(_ kind: UInt8, _ payload: [UInt8]) -> [UInt8] {
        [kind, 0, 1] + big(UInt32(payload.count)) + payload + [0xCE]
    }

    private func short(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }

    private mutating func bytes(_ count: ClosedRange<Int>) -> [UInt8] {
        (0..<Int.random(in: count, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    // MARK: What a broker sends

    private mutating func message() -> [UInt8] {
        var method: [UInt8]
        if Int.random(in: 0..<4, using: &generator) > 0 {
            method = big(MethodID.basicDeliver.rawValue) + short("tag") + big(nextTag) + [0]
            nextTag += 1
        } else {
            method = big(MethodID.basicReturn.rawValue) + big(UInt16(312)) + short("NO_ROUTE")
        }
        method += short("orders") + short("new")
        let body = bytes(0...300)
        // Flags: what comes before the headers, the headers, and some of what comes behind them.
        let header = big(UInt16(60)) + big(UInt16(0)) + big(UInt64(body.count)) + big(UInt16(0xF000))
        let properties =
            short("text/plain") + short("gzip") + table(depth: Int.random(in: 0...40, using: &generator)) + [2]
        let split = body.isEmpty ? 0 : Int.random(in: 0..<body.count, using: &generator)
        let parts = body.isEmpty ? [] : [body[..<split], body[split...]]
        return frame(1, method) + frame(2, header + properties) + parts.flatMap { frame(3, Array($0)) }
    }

    private mutating func table(depth: Int) -> [UInt8] {
        var entries =
            short("x-delivery-sequence") + [UInt8(ascii: "l")] + big(UInt64.random(in: 0...3, using: &generator))
        entries += short("text") + [UInt8(ascii: "S")] + big(UInt32(3)) + Array("abc".utf8)
        if depth > 0 {
            let inside = table(depth: depth - 1)
            entries +=
                Bool.random(using: &generator)
                ? short("table") + [UInt8(ascii: "F")] + inside
                : short("array") + [UInt8(ascii: "A")] + big(UInt32(inside.count + 1)) + [UInt8(ascii: "F")] + inside
        }
        return big(UInt32(entries.count)) + entries
    }

    // MARK: Anything

    private mutating func randomFrame() -> [UInt8] {
        let kind = [1, 1, 2, 3, 8].randomElement(using: &generator) ?? 1
        // Letters of tables more often than chance has them.
        var payload = bytes(0...200).map { byte in
            Bool.random(using: &generator) ? byte : Array("FASxltbBuiIdDTV".utf8).randomElement(using: &generator) ?? 0
        }
        if kind == 1, let method = Self.methods.randomElement(using: &generator), payload.count >= 4 {
            payload.replaceSubrange(0..<4, with: big(method.rawValue))
        }
        if kind == 2, payload.count > 14 {
            let size = UInt8.random(in: 0...9, using: &generator)
            payload.replaceSubrange(0..<12, with: [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, size])
        }
        return frame(UInt8(kind), payload)
    }
}
