import DeliveryTesting
import Foundation
import RabbitDelivery
import RabbitDeliveryTesting
import Synchronization
import Testing

/// Both ways with pika, Python's client: what it sends is read as it was meant, and what is sent here it reads so. Runs where
/// `python3` has the module (`pip install pika`).
@Suite(.enabled(if: Pika.isInstalled)) struct InteropTests {
    @Test func headersOfEveryTypeLargeBodiesAndAllPropertiesTravelBothWays() async throws {
        let place = try await Place.make()
        let sent = try await Pika.run(
            """
            headers = {'bool': True, 'int': -5, 'big': 2**40, 'neg': -2**40, 'text': '✓', 'bytes': b'\\x00\\xff',
                'table': {'a': {'b': 1}}, 'list': [1, 'x', None, {'k': 7}], 'none': None,
                'time': datetime.datetime(2026, 1, 2, 3, 4, 5), 'decimal': decimal.Decimal('3.14')}
            channel.basic_publish('', queue, b'x' * 1000000, pika.BasicProperties(content_type='t/x', content_encoding='e',
                headers=headers, delivery_mode=2, priority=3, correlation_id='c', reply_to='r', expiration='60000',
                message_id='m', timestamp=1700000000, type='ty', user_id='guest', app_id='a', cluster_id='cl'))
            print('sent')
            """,
            place
        )
        #expect(sent == "sent\n")
        let delivery = try #require(try await place.drain(1).first)
        #expect(delivery.body == [UInt8](repeating: UInt8(ascii: "x"), count: 1_000_000))
        let properties = delivery.properties
        #expect(properties.contentType == "t/x" && properties.contentEncoding == "e" && properties.isPersistent)
        #expect(properties.priority == 3 && properties.correlationID == "c" && properties.replyTo == "r")
        #expect(properties.expiration == .seconds(60) && properties.messageID == "m" && properties.type == "ty")
        #expect(properties.timestamp?.secondsSince1970 == 1_700_000_000)
        #expect(properties.userID == "guest" && properties.appID == "a" && properties.clusterID == "cl")
        let headers = properties.headers
        #expect(headers["bool"] == true && headers["text"] == "✓" && headers["none"] == .void)
        #expect(
            headers["int"]?.integer == -5 && headers["big"]?.integer == 1 << 40 && headers["neg"]?.integer == -(1 << 40)
        )
        #expect(headers["bytes"] == .bytes([0, 255]))
        #expect(headers["table"]?.table?["a"]?.table?["b"]?.integer == 1)
        #expect(headers["list"]?.array?.count == 4 && headers["list"]?.array?[2] == .void)
        #expect(headers["time"] == .timestamp(.init(secondsSince1970: 1_767_323_045)))
        #expect(headers["decimal"] == .decimal(scale: 2, value: 314))

        var message = RabbitMessage(
            queue: place.queue,
            body: [UInt8](repeating: 7, count: 700_000),
            properties: properties
        )
        message.properties.headers = [
            "t": true, "b": .int8(-8), "B": .uint8(200), "s": .int16(-1_600), "u": .uint16(60_000),
            "I": .int32(-320_000),
            "i": .uint32(4_000_000_000), "l": 1_099_511_627_776, "d": 2.5, "f": .float(1.5),
            "D": .decimal(scale: 2, value: 314),
            "S": "text ✓", "x": .bytes([0, 255]), "T": .timestamp(.init(secondsSince1970: 1_700_000_000)),
            "F": ["inner": ["a", 1]], "V": .void,
        ]
        let publisher = try place.publisher()
        try await publisher.send(message)
        await publisher.close()
        let read = try await Pika.run(
            """
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            h = properties.headers
            assert body == b'\\x07' * 700000
            assert h['t'] is True and h['b'] == -8 and h['B'] == 200 and h['s'] == -1600 and h['u'] == 60000
            assert h['I'] == -320000 and h['i'] == 4000000000 and h['l'] == 2**40 and h['d'] == 2 and h['f'] == 1  # pika cuts them
            assert h['D'] == decimal.Decimal('3.14') and h['S'] == 'text ✓' and h['x'] == b'\\x00\\xff' and h['V'] is None
            assert h['T'].timestamp() == 1700000000 and h['F'] == {'inner': ['a', 1]}
            assert properties.expiration == '60000' and properties.priority == 3 and properties.cluster_id == 'cl'
            print('read')
            """,
            place
        )
        #expect(read == "read\n")
    }
}

enum Pika {
    static let isInstalled = (try? python("import pika")) != nil

    struct Failed: Error {
        let output: String
    }

    /// Runs a few lines of Python with a channel and the queue's name.
    static func run(_ lines: String, _ place: Place) async throws -> String {
        let host = place.broker.hosts[0].split(separator: ":")
        let script =
            """
            import datetime, decimal, pika
            connection = pika.BlockingConnection(pika.ConnectionParameters(
                '\(host[0])', \(host.count > 1 ? host[1] : "5672"), virtual_host='\(place.broker.virtualHost)'))
            channel = connection.channel()
            queue = '\(place.queue)'
            channel.queue_declare(queue, durable=True)
            \(lines)
            connection.close()
            """
        // Not on one of the threads that all tasks share.
        return try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try python(script) }) }
        }
    }

    @discardableResult
    private static func python(_ script: String) throws -> String {
        let directory = FileManager.default.temporaryDirectory.appending(path: "pika-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let output = directory.appending(path: "output")
        try Data().write(to: output)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3", "-c", script]
        let handle = try FileHandle(forWritingTo: output)
        process.standardOutput = handle
        process.standardError = handle
        process.standardInput = FileHandle.nullDevice
        try ChildProcess.starting.withLock { _ in try process.run() }
        process.waitUntilExit()
        let text = try String(contentsOf: output, encoding: .utf8)
        guard process.terminationStatus == 0 else { throw Failed(output: text) }
        return text
    }
}
