internal import KafkaDelivery

/// Messages that are transformed against what was made of them: each has one output, in order, and its offset is committed
/// with that or not at all.
extension HistoryIndex {
    func outputAnomalies() -> [Anomaly] {
        guard hasOutputs else { return [] }
        return missingOutputs() + duplicateOutputs() + reorderedOutputs() + strangeOutputs() + uncommittedOutputs()
    }

    /// Every output that was read, in the order in which it was.
    private var outputs: [(time: Time, original: Position, position: Position)] {
        records.compactMap { record in
            guard case .output(let original, let position, _) = record.event else { return nil }
            return (record.time, original, position)
        }
    }

    private func missingOutputs() -> [Anomaly] {
        let committed = commits.reduce(into: [KafkaTopicPartition: Int64]()) { furthest, commit in
            furthest[commit.partition] = max(furthest[commit.partition] ?? -1, commit.offset)
        }
        return messages.compactMap { position, message in
            guard message.outputs.isEmpty else { return nil }
            if let offset = committed[position.partition], offset > position.offset {
                return Anomaly(
                    .commitWithoutOutput,
                    position,
                    "\(position) has no output, and offset \(offset) was committed"
                )
            }
            return Anomaly(.lostOutput, position, "\(position) has no output")
        }
    }

    private func duplicateOutputs() -> [Anomaly] {
        messages.compactMap { position, message in
            let positions = Set(message.outputs)
            guard positions.count > 1 else { return nil }
            return Anomaly(.duplicateOutput, position, "\(position) has outputs at \(positions.sorted())")
        }
    }

    /// Whatever the key, the outputs of one partition's messages that go to one partition keep their order. What comes twice
    /// is reported as such, so only its first output counts here.
    private func reorderedOutputs() -> [Anomaly] {
        struct Way: Hashable {
            let from: KafkaTopicPartition
            let to: KafkaTopicPartition
        }
        var latest: [Way: Position] = [:]
        var seen: Set<Position> = []
        var found: [Anomaly] = []
        for output in outputs.sorted(by: { $0.position < $1.position }) where seen.insert(output.original).inserted {
            let way = Way(from: output.original.partition, to: output.position.partition)
            if let later = latest[way], later > output.original {
                found.append(
                    Anomaly(
                        .reorderedOutput,
                        output.original,
                        "the output of \(output.original), at \(output.position), comes after that of \(later)"
                    )
                )
            }
            latest[way] = max(latest[way] ?? output.original, output.original)
        }
        return found
    }

    private func strangeOutputs() -> [Anomaly] {
        outputs.compactMap { output in
            guard let message = messages[output.original] else {
                return Anomaly(
                    .outputWithoutInput,
                    output.original,
                    "the output at \(output.position) names \(output.original), where no message is known"
                )
            }
            guard !message.isTransformed else { return nil }
            return Anomaly(
                .outputWithoutInput,
                output.original,
                "the output at \(output.position) is of \(output.original), which was not transformed"
            )
        }
    }

    /// An output that can be read is committed, and so is what it was made of.
    private func uncommittedOutputs() -> [Anomaly] {
        var read: [KafkaTopicPartition: (original: Position, position: Position)] = [:]
        var found: [Anomaly] = []
        for record in records {
            switch record.event {
            case .output(let original, let position, _):
                if let furthest = read[original.partition], furthest.original > original { continue }
                read[original.partition] = (original, position)
            case .committed(let partition, let offset):
                guard let furthest = read[partition], furthest.original.offset >= offset else { continue }
                found.append(
                    Anomaly(
                        .outputWithoutCommit,
                        furthest.original,
                        "the output of \(furthest.original) was read at \(furthest.position), and then offset \(offset) of "
                            + "its group"
                    )
                )
            default: continue
            }
        }
        return found
    }
}
