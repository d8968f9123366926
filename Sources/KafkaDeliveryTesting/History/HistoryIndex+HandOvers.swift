internal import KafkaDelivery

/// Messages that came again although they were finished.
extension HistoryIndex {
    func handOverAnomalies() -> [Anomaly] {
        redeliveredAfterHandOvers() + redeliveredAfterCommits()
    }

    /// What each consumer said of its partitions, in the order in which it said so.
    private struct Tenure {
        var generation: Int
        var hasFailedCommits = false
    }

    private func redeliveredAfterHandOvers() -> [Anomaly] {
        var tenures: [String: [KafkaTopicPartition: Tenure]] = [:]
        var buried: [String: Set<Position>] = [:]
        var assigned: [Ownership: Time] = [:]
        var settled: [Position: (Ownership, Time)] = [:]
        let verdicts = verdictsByOwnership()
        for record in records {
            switch record.event {
            case .assigned(let partitions, let generation):
                for partition in partitions {
                    tenures[record.process, default: [:]][partition] = Tenure(generation: generation)
                    assigned[.init(process: record.process, partition: partition, generation: generation)] = record.time
                }
                buried[record.process] = []
            case .commitFailed(let partitions):
                for partition in partitions { tenures[record.process]?[partition]?.hasFailedCommits = true }
            case .deadLettered(let position):
                buried[record.process, default: []].insert(position)
            case .lost(let partitions):
                for partition in partitions { tenures[record.process]?[partition] = nil }
            case .revoked(let partitions, let unsettled):
                let ending = partitions.compactMap { partition -> (Ownership, Tenure)? in
                    guard let tenure = tenures[record.process]?.removeValue(forKey: partition) else { return nil }
                    let process = record.process
                    return (.init(process: process, partition: partition, generation: tenure.generation), tenure)
                }
                guard ending.count == partitions.count, !ending.contains(where: \.1.hasFailedCommits) else { continue }
                let runs = ending.map { ownership, _ in
                    Ending(ownership, verdicts[ownership] ?? [:], buried[record.process] ?? [], before: record.time)
                }
                // Only then did every verdict come in time.
                guard runs.reduce(0, { $0 + $1.unsettledCount }) == unsettled else { continue }
                for run in runs {
                    for (offset, time) in run.settledPrefix {
                        settled[Position(run.ownership.partition, offset)] = (run.ownership, time)
                    }
                }
            default:
                break
            }
        }
        return records.compactMap { record in
            guard case .delivered(let attempt, _, _) = record.event, let (owner, time) = settled[attempt.position]
            else {
                return nil
            }
            let ownership = Ownership(record.process, attempt)
            guard ownership != owner, record.time > time else { return nil }
            // One that was assigned the partition before, and has not noticed yet that it was taken away, for instance because
            // its process was stopped, still hands out what it had fetched.
            guard let begin = assigned[ownership], let ownersBegin = assigned[owner], begin > ownersBegin else {
                return nil
            }
            return Anomaly(
                .settledRedelivered,
                attempt.position,
                "\(attempt.position) was settled by \(owner), which handed over cleanly, and delivered to \(ownership)"
            )
        }
    }

    /// For each offset that was handed out: when it was about to be acknowledged, if it was.
    private func verdictsByOwnership() -> [Ownership: [Int64: Time?]] {
        var verdicts: [Ownership: [Int64: Time?]] = [:]
        for record in records {
            switch record.event {
            case .delivered(let attempt, _, _):
                let ownership = Ownership(record.process, attempt)
                if verdicts[ownership]?[attempt.position.offset] == nil {
                    verdicts[ownership, default: [:]].updateValue(nil, forKey: attempt.position.offset)
                }
            case .acknowledged(let attempt):
                verdicts[Ownership(record.process, attempt), default: [:]]
                    .updateValue(record.time, forKey: attempt.position.offset)
            default:
                break
            }
        }
        return verdicts
    }

    private struct Ending {
        let ownership: Ownership
        let unsettledCount: Int
        let settledPrefix: [(Int64, Time)]

        init(_ ownership: Ownership, _ verdicts: [Int64: Time?], _ buried: Set<Position>, before end: Time) {
            let settled = verdicts.mapValues { time -> Time? in time.flatMap { $0 < end ? $0 : nil } }
            var isPrefix = true
            var (count, prefix) = (0, [(Int64, Time)]())
            for (offset, time) in settled.sorted(by: { $0.key < $1.key }) {
                // A dead letter is settled by the library: there is no record of that verdict.
                let isBuried = buried.contains(Position(ownership.partition, offset))
                if time == nil, !isBuried {
                    isPrefix = false
                    count += 1
                } else if isPrefix, let time {
                    prefix.append((offset, time))
                }
            }
            self.ownership = ownership
            self.unsettledCount = count
            self.settledPrefix = prefix
        }
    }

    private func redeliveredAfterCommits() -> [Anomaly] {
        var committed: [KafkaTopicPartition: [(time: Time, offset: Int64)]] = [:]
        for record in records {
            if case .committed(let partition, let offset) = record.event {
                committed[partition, default: []].append((record.time, offset))
            }
        }
        return records.compactMap { record in
            guard case .delivered(let attempt, _, _) = record.event, attempt.attempt == 1,
                let made = processes[record.process]?.joined,
                let commit = committed[attempt.position.partition]?.last(where: { $0.time < made }),
                attempt.position.offset < commit.offset
            else { return nil }
            return Anomaly(
                .committedRedelivered,
                attempt.position,
                "\(attempt.position) was delivered to \(record.process), which was made after \(commit.offset) was committed"
            )
        }
    }
}
