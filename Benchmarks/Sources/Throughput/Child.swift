import Foundation

/// This program, started once more.
final class Child {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var buffer = Data()
    /// What it was told to do, for messages about its failure.
    private let name: String

    init(_ name: String, _ arguments: [String]) throws {
        self.name = name
        process.executableURL = Bundle.main.executableURL
        process.arguments = arguments
        process.standardInput = input
        process.standardOutput = output
        try process.run()
    }

    deinit {
        // Workers that wait for their turn and clusters read this to its end, and end then.
        try? input.fileHandleForWriting.close()
        if process.isRunning { process.terminate() }
        process.waitUntilExit()
    }

    func write(_ line: String) throws {
        try input.fileHandleForWriting.write(contentsOf: Data("\(line)\n".utf8))
    }

    /// The next line that it prints.
    ///
    /// - Throws: ``Failure`` where it ends or takes longer.
    func readLine(within seconds: Int) throws -> String {
        let deadline = ContinuousClock.now + .seconds(seconds)
        let descriptor = output.fileHandleForReading.fileDescriptor
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                defer { buffer = Data(buffer[(end + 1)...]) }
                return String(decoding: buffer[..<end], as: UTF8.self)
            }
            let left = ContinuousClock.now.duration(to: deadline)
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let status = Foundation.poll(&poll, 1, Int32(max(0, left / .milliseconds(1))))
            if status < 0, errno == EINTR { continue }
            guard status > 0 else { throw Failure("\(name): nothing for \(seconds) s") }
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw Failure("\(name): it ended without a result") }
            buffer.append(data)
        }
    }

    /// Lets it end by itself, as long as that takes.
    func finish() {
        try? input.fileHandleForWriting.close()
    }

    /// Waits until it has ended.
    func wait() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }
}
