import Foundation
import KafkaDeliveryTesting

/// kcat, the other client that checks what this one says.
struct Kcat {
    private let bootstrapServers: [String]

    init(_ cluster: TestCluster) {
        self.bootstrapServers = cluster.bootstrapServers
    }

    /// Reads messages of one partition.
    ///
    /// - Parameter format: kcat's `-f`.
    func read(
        _ topic: String,
        partition: Int,
        from offset: Int64 = 0,
        count: Int,
        format: String
    ) async throws -> Data {
        try await run([
            "-C", "-q", "-t", topic, "-p", "\(partition)", "-o", "\(offset)", "-c", "\(count)", "-e", "-f", format,
        ])
    }

    /// How many messages a partition holds, read from its beginning to its end.
    func count(_ topic: String, partition: Int) async throws -> Int {
        let output = try await run([
            "-C", "-q", "-t", topic, "-p", "\(partition)", "-o", "beginning", "-e", "-f", "%o\n",
        ])
        return output.split(separator: UInt8(ascii: "\n")).count
    }

    /// Writes messages from `input`, with kcat's own options.
    func write(_ topic: String, _ options: [String] = [], input: Data) async throws {
        _ = try await run(["-P", "-t", topic] + options, input: input)
    }

    func run(_ arguments: [String], input: Data = Data()) async throws -> Data {
        // kcat gives a topic's metadata five seconds, which are over where brokers are slow and the machine is busy.
        let arguments = ["-b", bootstrapServers.joined(separator: ","), "-m", "60"] + arguments
        let process = try ChildProcess("kcat", arguments)
        return try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                try? process.input.write(contentsOf: input)
                try? process.input.close()
                let output = process.output.readDataToEndOfFile()
                let status = process.wait()
                if status == 0 {
                    continuation.resume(returning: output)
                } else {
                    continuation.resume(throwing: TestFailure("kcat \(arguments) ended with status \(status)"))
                }
            }
        }
    }
}
