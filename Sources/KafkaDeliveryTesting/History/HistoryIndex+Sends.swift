internal import KafkaDelivery

/// Messages against what was sent: losses, and what should not be there.
extension HistoryIndex {
    func sendAnomalies() -> [Anomaly] {
        lostSends() + unseenSends() + missingFromLog() + contradictions()
    }

    /// Confirmed sends with a position.
    private var confirmed: [(String, Position)] {
        records.compactMap { record in
            if case .sent(let value, .some(let position)) = record.event { (value, position) } else { nil }
        }
    }

    private var lastDelivered: [KafkaTopicPartition: Int64] {
        messages.reduce(into: [:]) { last, entry in
            guard entry.value.isDelivered else { return }
            last[entry.key.partition] = max(last[entry.key.partition] ?? -1, entry.key.offset)
        }
    }

    private func lostSends() -> [Anomaly] {
        let last = lastDelivered
        return confirmed.compactMap { value, position in
            guard !deliveredValues.contains(value) else { return nil }
            guard let later = last[position.partition], later > position.offset else {
                return Anomaly(.unseen, position, "\"\(value)\" at \(position) was confirmed and never delivered")
            }
            return Anomaly(
                .lostWrite,
                position,
                "\"\(value)\" at \(position) was confirmed and never delivered, though offset \(later) was"
            )
        }
    }

    /// Confirmed without a position: nothing says what comes after it.
    private func unseenSends() -> [Anomaly] {
        records.compactMap { record in
            guard case .sent(let value, .none) = record.event, !deliveredValues.contains(value) else { return nil }
            return Anomaly(.unseen, nil, "\"\(value)\" was confirmed, without its position, and never delivered")
        }
    }

    private func missingFromLog() -> [Anomaly] {
        let last = messages.reduce(into: [KafkaTopicPartition: Int64]()) { last, entry in
            guard entry.value.isStored else { return }
            last[entry.key.partition] = max(last[entry.key.partition] ?? -1, entry.key.offset)
        }
        return confirmed.compactMap { value, position in
            guard let later = last[position.partition], later > position.offset, messages[position]?.isStored == false
            else { return nil }
            return Anomaly(
                .lostWrite,
                position,
                "\"\(value)\" at \(position) was confirmed and is not in the log, though offset \(later) is"
            )
        }
    }

    private func contradictions() -> [Anomaly] {
        var found: [Anomaly] = []
        for (value, positions) in positions where positions.count > 1 {
            found.append(Anomaly(.duplicate, positions.min(), "\"\(value)\" is at \(positions.sorted())"))
        }
        for (position, message) in messages where message.values.count > 1 {
            found.append(Anomaly(.inconsistentOffsets, position, "\(position) holds \(message.values.sorted())"))
        }
        for record in records {
            guard case .sendFailed(let value, mayBeStored: false) = record.event, let position = positions[value]?.min()
            else {
                continue
            }
            found.append(
                Anomaly(
                    .abortedRead,
                    position,
                    "\"\(value)\" failed as not stored in the eyes of \(record.process), and is at \(position)"
                )
            )
        }
        return found
    }
}
