import Foundation
import Synchronization
import Testing

@testable import ToolSupport

@Suite struct OutputTests {
    /// A pipe whose ends are closed when the test lets go of it.
    private final class Pipe {
        let reader: FileHandle
        let writer: Int32
        // Foundation's pipe owns both descriptors.
        private let pipe = Foundation.Pipe()

        init() {
            ignoreBrokenPipes()
            reader = pipe.fileHandleForReading
            writer = pipe.fileHandleForWriting.fileDescriptor
        }
    }

    @Test func whatIsWrittenIsSaidToBeWritten() async throws {
        let pipe = Pipe()
        let output = Output(pipe.writer)
        let written = Mutex<[Int]>([])
        for number in 0..<100 {
            try await output.write("\(number)\n".utf8) { written.withLock { $0.append(number) } }
        }
        try await output.flush()
        #expect(written.withLock { $0 } == Array(0..<100))
        let expected = (0..<100).map { "\($0)\n" }.joined()
        #expect(pipe.reader.readData(ofLength: expected.utf8.count) == Data(expected.utf8))
    }

    @Test func nothingIsSaidToBeWrittenThatNobodyCanRead() async throws {
        let pipe = Pipe()
        try pipe.reader.close()
        let output = Output(pipe.writer)
        let written = Mutex(0)
        await #expect(throws: SystemError(code: EPIPE)) {
            try await output.write("lost".utf8) { written.withLock { $0 += 1 } }
            try await output.flush()
        }
        await #expect(throws: SystemError(code: EPIPE)) { try await output.write("after".utf8) }
        #expect(written.withLock { $0 } == 0)
    }

    @Test func aReaderThatGoesIsNoticedWithoutAWrite() async throws {
        let pipe = Pipe()
        let output = Output(pipe.writer)
        let (gone, continuation) = AsyncStream.makeStream(of: Void.self)
        output.whenReaderGoes { continuation.finish() }
        try pipe.reader.close()
        for await _ in gone {}
    }

    @Test func aReaderThatDoesNotReadMakesTheWriterWaitUntilItIsStopped() async throws {
        let pipe = Pipe()
        let output = Output(pipe.writer, capacity: 1000)
        let written = Mutex(0)
        let filling = Task {
            var given = 0
            while true {
                try await output.write([UInt8](repeating: 0, count: 100_000)) { written.withLock { $0 += 1 } }
                given += 1
            }
        }
        // The pipe takes less than the first, and the buffer one more: the third cannot be taken.
        let waiting = Task { try await output.flush() }
        output.stop()
        await #expect(throws: SystemError.stopped) { try await filling.value }
        await #expect(throws: SystemError.stopped) { try await waiting.value }
        #expect(written.withLock { $0 } == 0)
        // Lets the thread go that hangs in the first write.
        try pipe.reader.close()
    }
}

@Suite struct BoundedChannelTests {
    @Test func everythingArrivesOnceAndInOrderThroughLittleRoom() async {
        let channel = BoundedChannel<Int>(capacity: 10)
        let sending = Task {
            for number in 0..<10_000 { await channel.send(number, cost: number % 7 + 1) }
            channel.finish()
        }
        var received: [Int] = []
        while let batch = await channel.receive() {
            #expect(batch.count <= 10)
            received += batch
        }
        await sending.value
        #expect(received == Array(0..<10_000))
    }

    @Test func anElementThatCostsMoreThanTheWholeRoomPassesAlone() async {
        let channel = BoundedChannel<Int>(capacity: 1)
        async let sent: Void = channel.send(1, cost: 100)
        #expect(await channel.receive() == [1])
        await sent
        channel.finish()
        #expect(await channel.receive() == nil)
    }

    @Test func finishingLetsASenderThatWaitsGo() async {
        let channel = BoundedChannel<Int>(capacity: 1)
        await channel.send(1, cost: 1)
        async let waiting: Void = channel.send(2, cost: 1)
        channel.finish()
        await waiting
        #expect(await channel.receive()?.first == 1)
    }
}

@Suite struct InputTests {
    @Test func aBellEndsAWaitForInputThatDoesNotCome() async throws {
        let path = NSTemporaryDirectory() + "kafka-delivery-\(UUID().uuidString)"
        #expect(mkfifo(path, 0o600) == 0)
        defer { unlink(path) }
        // Somebody who could write, and does not.
        let writer = open(path, O_RDWR)
        defer { close(writer) }
        let bell = try Bell()
        let input = try Input(.file(path), bell: bell)
        let reading = Task { try await input.read(100) }
        bell.ring()
        await #expect(throws: SystemError.stopped) { try await reading.value }
    }

    @Test func aFolderOrAMissingFileIsNamedBeforeAnythingIsRead() {
        #expect(throws: SystemError(code: EISDIR)) { try Input.facts(of: .file("/")) }
        #expect(throws: SystemError(code: ENOENT)) { try Input.facts(of: .file("/nowhere/at/all")) }
    }
}
