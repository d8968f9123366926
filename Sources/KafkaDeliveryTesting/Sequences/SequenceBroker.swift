internal import Foundation
internal import KafkaDelivery
internal import Synchronization

/// What the connections of a ``SequenceFilter`` share: what the cluster remembers of idempotent producers, and which
/// partitions are being written to.
final class SequenceBroker: Sendable {
    typealias Partition = SequenceKeeper.Partition

    private struct State {
        var keeper = SequenceKeeper()
        /// Partitions with a batch under way to the mock.
        var busy: Set<Partition> = []
        /// Counts how often partitions became free.
        var releases = 0
        var ports = AdvertisedPorts(ports: [:])
        var refusals: Set<String> = []
    }

    // One thread uses it; the ports are set by another, before the first connection.
    private let state = Mutex(State())

    var ports: AdvertisedPorts {
        get { state.withLock { $0.ports } }
        set { state.withLock { $0.ports = newValue } }
    }

    var releases: Int { state.withLock { $0.releases } }

    /// Says that a connection cannot be followed any further, once for each reason. What was counted behind it would be wrong,
    /// so the connection is cut, and the clients' calls run into their time-outs.
    func refuse(_ what: String) {
        let isNew = state.withLock { $0.refusals.insert(what).inserted }
        guard isNew else { return }
        let version = LibrdkafkaVersion.current
        let line = "MockCluster, checking sequences, cut a connection: \(what), on librdkafka \(version)\n"
        FileHandle.standardError.write(Data(line.utf8))
    }

    /// Takes the partitions of a request, all or none.
    ///
    /// - Returns: What is to become of each part; nil where a partition is being written to.
    func take(_ request: ProduceRequest) -> [SequenceKeeper.Decision]? {
        state.withLock { state in
            let partitions = Set(request.parts.map(\.partition))
            guard state.busy.isDisjoint(with: partitions) else { return nil }
            state.busy.formUnion(partitions)
            return request.parts.map { part in
                part.batch.map { state.keeper.check($0, in: part.partition) } ?? .append
            }
        }
    }

    /// Gives the partitions of a request back.
    ///
    /// - Parameter answers: What the mock answered; empty where nothing was stored, or it is unknown.
    func release(_ request: ProduceRequest, _ answers: [(SequenceKeeper.Partition, ProduceRequest.Answer)]) {
        state.withLock { state in
            for (partition, answer) in answers where answer.error == 0 {
                guard let batch = request.parts.first(where: { $0.partition == partition })?.batch else { continue }
                state.keeper.stored(batch, in: partition, at: answer.offset)
            }
            state.busy.subtract(request.parts.map(\.partition))
            state.releases += 1
        }
    }
}
