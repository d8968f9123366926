import Foundation
import KafkaDelivery

extension TestCluster {
    /// The settings of a transactional producer with an id that nobody used before.
    func transactionalConfiguration(
        _ transactionalID: String = Self.uniqueName("transactional")
    ) -> KafkaTransactionalProducer.Configuration {
        KafkaTransactionalProducer.Configuration(transactionalID: transactionalID, bootstrapServers: bootstrapServers)
    }

    func transactionalProducer(
        _ transactionalID: String = Self.uniqueName("transactional")
    ) throws -> KafkaTransactionalProducer {
        try KafkaTransactionalProducer(transactionalConfiguration(transactionalID), logger: .test)
    }
}

extension Kcat {
    /// The values of a partition's messages, from its beginning to its end, as a reader of committed messages sees them.
    /// (On the mock cluster those of aborted transactions too.)
    func committedValues(_ topic: String, partition: Int = 0) async throws -> [String] {
        let output = try await run([
            "-C", "-q", "-t", topic, "-p", "\(partition)", "-o", "beginning", "-e", "-f", "%s\n",
            "-X", "isolation.level=read_committed",
        ])
        return String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
    }
}

/// What the code inside of a transaction throws.
struct Regret: Error, Equatable {}

/// The ``KafkaError`` that something throws; nil where it throws none. For use inside of `#expect(throws:)`, which cannot be
/// nested.
func kafkaError(of body: () async throws -> Void) async -> KafkaError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? KafkaError
    }
}
