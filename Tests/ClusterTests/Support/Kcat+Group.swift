import Foundation

extension Kcat {
    /// Reads as a member of a group, which commits what it read when it ends.
    func readInGroup(_ group: String, _ topic: String, count: Int, format: String) async throws -> String {
        let output = try await run(
            [
                "-G", group, "-q", "-c", "\(count)", "-f", format, "-X", "auto.offset.reset=earliest",
                "-X", "partition.assignment.strategy=cooperative-sticky",
                "-X", "session.timeout.ms=\(TestCluster.isMock ? 4_000 : 6_000)", "-X", "heartbeat.interval.ms=100",
                topic,
            ]
        )
        return String(decoding: output, as: UTF8.self)
    }
}
