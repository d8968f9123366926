internal import DequeModule

/// One client's connection to a mock broker that checks sequence numbers.
///
/// An idempotent producer's batch goes to the mock only where it is the next; one that is stored already is answered with
/// the offset it has. As with Kafka's brokers, a connection's requests are done one after the other while one of them is such
/// a batch, and so are a partition's batches: the next is judged when the one before it is stored, or is not.
final class SequenceFilter: RelayFilter {
    private static let outOfOrder: Int16 = 45
    private static let fenced: Int16 = 47
    private static let notEnoughReplicas: Int16 = 19

    private let broker: SequenceBroker
    private let ports: AdvertisedPorts
    private var fromClient = FrameSplitter()
    private var fromBroker = FrameSplitter()
    /// Requests that were not passed on yet, in order.
    private var waiting: Deque<[UInt8]> = []
    private var waitingBytes = 0
    /// Requests that the mock has not answered: kind and version by correlation id.
    private var unanswered: [Int32: (kind: Int16, version: Int16)] = [:]
    /// The batch that the mock is storing.
    private var current: ProduceRequest?
    /// Where the first of the requests waits for a partition: how often partitions had become free before.
    private var waitsSince: Int?

    init(_ broker: SequenceBroker) {
        self.broker = broker
        self.ports = broker.ports
    }

    /// The mock closed the connection, or everything ends: it cannot be known whether the batch is stored. It counts as not
    /// stored, as with a broker that fails before it has copied a batch.
    func close() {
        if let current { broker.release(current, []) }
        current = nil
    }

    var needsBroker: Bool { current != nil || !waiting.isEmpty }

    func mayRead(from side: RelaySide) -> Bool {
        side == .broker || waitingBytes < RelayQueue.capacity
    }

    func mayWrite(to side: RelaySide) -> Bool { true }

    func wakeUp(after now: Instant) -> Instant? {
        waitsSince.flatMap { $0 == broker.releases ? nil : now }
    }

    func advance(at now: Instant, _ pipes: inout RelayPipes) {
        if let waitsSince, waitsSince != broker.releases { passOn(&pipes) }
    }

    func clientIsGone() {
        waiting = []
        waitingBytes = 0
        waitsSince = nil
    }

    /// A broker that stops speaking in the middle has gone.
    func brokerIsFinished(_ pipes: inout RelayPipes) {
        pipes.closeWhenWritten()
    }

    func receive(_ bytes: UnsafeRawBufferPointer, from side: RelaySide, at now: Instant, into pipes: inout RelayPipes) {
        switch side {
        case .client:
            fromClient.append(bytes)
            while let frame = fromClient.next() {
                waiting.append(frame)
                waitingBytes += frame.count
            }
        case .broker:
            fromBroker.append(bytes)
            while let frame = fromBroker.next() { answer(frame, &pipes) }
        }
        passOn(&pipes)
        if fromClient.isBroken || fromBroker.isBroken { pipes.cut() }
    }

    /// Passes requests on until one has to wait.
    private func passOn(_ pipes: inout RelayPipes) {
        waitsSince = nil
        while current == nil, let frame = waiting.first, take(frame, &pipes) {
            waiting.removeFirst()
            waitingBytes -= frame.count
        }
    }

    /// False where the request has to wait.
    private func take(_ frame: [UInt8], _ pipes: inout RelayPipes) -> Bool {
        guard let kind = frame.bigEndian(Int16.self, at: 4), let version = frame.bigEndian(Int16.self, at: 6),
            let id = frame.bigEndian(Int32.self, at: 8)
        else {
            pipes.cut()
            return false
        }
        guard UnderstoodVersions.includes(kind: kind, version: version) else {
            return refuse("version \(version) of request \(kind) was not offered and is not understood", &pipes)
        }
        if kind == ProduceRequest.kind, ProduceRequest.mayBeIdempotent(version) {
            guard let request = ProduceRequest(frame: frame[...]) else {
                return refuse("a Produce request of version \(version) cannot be read", &pipes)
            }
            // Nothing says when that is done.
            if request.acknowledgements == 0 {
                pipes.toBroker.append(frame)
                return true
            }
            if request.isIdempotent { return take(request, frame, &pipes) }
        }
        unanswered[id] = (kind, version)
        pipes.toBroker.append(frame)
        return true
    }

    /// Ends a connection that cannot be followed. Always false.
    private func refuse(_ what: String, _ pipes: inout RelayPipes) -> Bool {
        broker.refuse(what)
        pipes.cut()
        return false
    }

    private func take(_ request: ProduceRequest, _ frame: [UInt8], _ pipes: inout RelayPipes) -> Bool {
        // Answers come in the order of the requests, those given here too.
        guard unanswered.isEmpty else { return false }
        let releases = broker.releases
        guard let decisions = broker.take(request) else {
            waitsSince = releases
            return false
        }
        if decisions.allSatisfy({ $0 == .append }) {
            current = request
            unanswered[request.correlationID] = (ProduceRequest.kind, request.version)
            pipes.toBroker.append(frame)
            return true
        }
        let answers = decisions.map { decision in
            switch decision {
            case .duplicate(let offset): ProduceRequest.Answer(offset: offset)
            case .outOfOrder: ProduceRequest.Answer(error: Self.outOfOrder)
            case .fenced: ProduceRequest.Answer(error: Self.fenced)
            // Beside one that is answered here: refused in a way that makes the client send it again, by itself.
            case .append: ProduceRequest.Answer(error: Self.notEnoughReplicas)
            }
        }
        broker.release(request, [])
        pipes.toClient.append(request.response(answers))
        return true
    }

    private func answer(_ response: [UInt8], _ pipes: inout RelayPipes) {
        var response = response
        if let id = response.bigEndian(Int32.self, at: 4), let request = unanswered.removeValue(forKey: id) {
            if let produce = current, produce.correlationID == id {
                current = nil
                let answers = produce.answers(in: response[...])
                broker.release(produce, answers ?? [])
                guard answers != nil else {
                    _ = refuse("the answer to a Produce request of version \(produce.version) cannot be read", &pipes)
                    return
                }
            }
            let isUnderstood =
                request.kind == UnderstoodVersions.kind
                ? UnderstoodVersions.limit(&response, version: request.version)
                : ports.replace(in: &response, kind: request.kind, version: request.version)
            guard isUnderstood else {
                _ = refuse("the answer to request \(request.kind) of version \(request.version) cannot be read", &pipes)
                return
            }
        }
        pipes.toClient.append(response)
    }
}
