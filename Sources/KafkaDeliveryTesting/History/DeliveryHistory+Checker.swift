extension DeliveryHistory {
    /// Says which promises a history shows to be broken.
    ///
    /// It does not guess: where the records leave open what happened first, it assumes what breaks no promise.
    public struct Checker: Sendable {
        /// What is looked for. Leave out what the cluster itself cannot promise: librdkafka's mock brokers store a message
        /// twice where a connection breaks (``Anomaly/Kind/duplicate``), and do not hand partitions over cleanly while messages
        /// flow (``Anomaly/Kind/settledRedelivered``).
        public var kinds: Set<Anomaly.Kind>

        /// Looks for everything, or for some kinds.
        public init(_ kinds: Set<Anomaly.Kind> = Set(Anomaly.Kind.allCases)) {
            self.kinds = kinds
        }

        /// Checks the history of one group.
        ///
        /// - Returns: What is wrong, by kind and by position; empty where nothing is.
        public func check(_ history: DeliveryHistory) -> [Anomaly] {
            let index = HistoryIndex(history)
            let found =
                index.sendAnomalies() + index.runAnomalies() + index.commitAnomalies() + index.handOverAnomalies()
                + index.deadLetterAnomalies() + index.outputAnomalies()
            let order = Dictionary(uniqueKeysWithValues: zip(Anomaly.Kind.allCases, 0...))
            var seen: Set<Anomaly> = []
            return found.filter { kinds.contains($0.kind) && seen.insert($0).inserted }
                .sorted { left, right in
                    if left.kind != right.kind { return order[left.kind, default: 0] < order[right.kind, default: 0] }
                    guard let first = left.position, let second = right.position, first != second else {
                        return left.description < right.description
                    }
                    return first < second
                }
        }
    }

    /// Everything that was recorded about one message, in order: what to look at where something is wrong with it.
    public func records(of position: Position) -> [Record] {
        records.filter { record in
            switch record.event {
            case .sent(_, let recorded): recorded == position
            case .delivered(let attempt, _, _), .transforming(let attempt, _, _), .acknowledged(let attempt),
                .failed(let attempt):
                attempt.position == position
            case .deadLettered(let recorded), .stored(let recorded, _, _): recorded == position
            case .deadLetter(let original, _, _), .output(let original, _, _): original == position
            case .committed(let partition, _): partition == position.partition
            case .assigned(let partitions, _), .revoked(let partitions, _), .lost(let partitions),
                .commitFailed(let partitions):
                partitions.contains(position.partition)
            case .sending, .sendFailed, .joined: false
            }
        }
    }
}
