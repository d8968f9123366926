internal import KafkaDelivery

/// Committed offsets, and the beginnings of runs, against what was settled.
extension HistoryIndex {
    func commitAnomalies() -> [Anomaly] {
        // What settles a message that is transformed is its output, see ``outputAnomalies()``.
        (hasOutputs ? [] : unsettledBehindCommits() + unsettledBehindRuns()) + commitsThatMovedBack()
    }

    /// Every committed offset that was seen, with who saw it.
    var commits: [(time: Time, process: String, partition: KafkaTopicPartition, offset: Int64)] {
        records.compactMap { record in
            guard case .committed(let partition, let offset) = record.event else { return nil }
            return (record.time, record.process, partition, offset)
        }
    }

    private func unsettledBehindCommits() -> [Anomaly] {
        // What one commit shows need not be shown by every later one.
        var reported: Set<Position> = []
        return commits.flatMap { commit in
            unsettled(before: Position(commit.partition, commit.offset), at: commit.time)
                .filter { reported.insert($0.0).inserted }
                .map { position, message in
                    anomaly(
                        position,
                        message,
                        at: commit.time,
                        "was not settled when offset \(commit.offset) was committed"
                    )
                }
        }
    }

    /// A consumer starts where the group has committed. So where a run begins says what was, even if it was not recorded.
    private func unsettledBehindRuns() -> [Anomaly] {
        runs.flatMap { run, steps -> [Anomaly] in
            switch order(of: run.ownership.process) {
            case .partition, .handOut: break
            // What is handed out first need not be handled, and so recorded, first.
            case .key, .none: return []
            }
            guard let first = steps.first else { return [] }
            return unsettled(before: Position(run.ownership.partition, first.offset), at: first.time)
                .map { position, message in
                    anomaly(
                        position,
                        message,
                        at: first.time,
                        "was not settled when \(run.ownership) began at \(first.offset)"
                    )
                }
        }
    }

    private func unsettled(before position: Position, at time: Time) -> [(Position, Message)] {
        known(position.partition, in: Int64.min..<position.offset).filter { ($0.1.settled ?? .max) > time }
    }

    private func anomaly(_ position: Position, _ message: Message, at time: Time, _ what: String) -> Anomaly {
        let isGivenUp = message.givenUp.map { $0 <= time } ?? false
        guard isGivenUp, !message.hasDeadLetter else {
            return Anomaly(.committedPastUnsettled, position, "\(position) \(what)")
        }
        return Anomaly(.settledWithoutDeadLetter, position, "\(position) was given up, has no dead letter, and \(what)")
    }

    private func commitsThatMovedBack() -> [Anomaly] {
        var last: [String: [KafkaTopicPartition: Int64]] = [:]
        return commits.compactMap { commit in
            // What two observers saw at the same time has no order.
            let previous = last[commit.process]?[commit.partition] ?? commit.offset
            last[commit.process, default: [:]][commit.partition] = commit.offset
            guard commit.offset < previous else { return nil }
            return Anomaly(
                .commitMovedBack,
                Position(commit.partition, commit.offset),
                "\(commit.partition) was committed at \(previous), then at \(commit.offset)"
            )
        }
    }
}
