/// Which lanes of a destination are read next, together.
struct PublisherReadPlan {
    typealias LaneID = PublisherTraffic.LaneID

    let lanes: [LaneID]
    let request: OutboxReadRequest

    /// - Parameter own: The destination's lanes whose slots are owned.
    /// - Returns: Nil where none wants to be read.
    init?(
        _ own: [LaneID: PublisherLane],
        of name: String,
        maximumCount: Int,
        _ configuration: OutboxPublisher.Configuration,
        at now: ContinuousClock.Instant
    ) {
        var wanting = own.filter { $0.value.wantsReading(at: now, maximumWithheld: configuration.maximumWithheldKeys) }
            .map { (id: $0.key, lane: $0.value) }
        guard !wanting.isEmpty else { return nil }
        // With a backlog as many parts of the slots as may be under way, each at another step: one is read while another is published, or
        // deleted, for which the database waits for its disk.
        let hasBacklog = wanting.contains(where: \.lane.isHot)
        // In turn: whatever the first slots have, the others are read as often.
        wanting.sort { one, other in
            (one.lane.lastTurn, one.lane.isHot ? 0 : 1, one.id.slot)
                < (other.lane.lastTurn, other.lane.isHot ? 0 : 1, other.id.slot)
        }
        let parts = max(1, min(configuration.maximumBatches, own.count))
        let count = hasBacklog ? (own.count + parts - 1) / parts : wanting.count
        lanes = wanting.prefix(min(count, max(maximumCount, 1))).map(\.id)
        var request = OutboxReadRequest(
            destination: name,
            slots: lanes.map(\.slot).sorted(),
            limitPerSlot: max(1, maximumCount / max(lanes.count, 1)),
            maximumBytes: configuration.maximumBatchBytes
        )
        let limits = lanes.compactMap { id in
            own[id]?.readLimit(at: now, maximumWithheld: configuration.maximumWithheldKeys)
        }
        if limits.count == lanes.count, let most = limits.max() {
            request.limitPerSlot = max(1, min(request.limitPerSlot, most))
        }
        for id in lanes {
            let (keys, numbers) = own[id]?.withheld(at: now) ?? ([], [])
            if !keys.isEmpty { request.withheldKeys[id.slot] = keys }
            if !numbers.isEmpty { request.withheldNumbers[id.slot] = numbers }
        }
        self.request = request
    }
}

extension [OutboxEvent] {
    /// Each slot's, in their order: parts of the array itself where they stand together, as stores read them.
    var slots: [Int: ArraySlice<OutboxEvent>] {
        var slots: [Int: ArraySlice<OutboxEvent>] = [:]
        var start = startIndex
        while start < endIndex {
            let slot = self[start].id.slot
            var end = start + 1
            while end < endIndex, self[end].id.slot == slot { end += 1 }
            if let earlier = slots.removeValue(forKey: slot) {
                slots[slot] = earlier + self[start..<end]
            } else {
                slots[slot] = self[start..<end]
            }
            start = end
        }
        return slots
    }
}
