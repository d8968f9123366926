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
            .map { (id: $0.key, isHot: $0.value.isHot) }
        guard !wanting.isEmpty else { return nil }
        // With a backlog half of the slots are read while the other half is published.
        let hasBacklog = wanting.contains(where: \.isHot)
        wanting.sort { ($0.isHot ? 0 : 1, $0.id.slot) < ($1.isHot ? 0 : 1, $1.id.slot) }
        let count = hasBacklog ? max(1, (own.count + 1) / 2) : wanting.count
        lanes = wanting.prefix(min(count, max(maximumCount, 1))).map(\.id)
        var request = OutboxReadRequest(
            destination: name,
            slots: lanes.map(\.slot).sorted(),
            limitPerSlot: max(1, maximumCount / max(lanes.count, 1)),
            maximumBytes: configuration.maximumBatchBytes
        )
        for id in lanes {
            let (keys, numbers) = own[id]?.withheld(at: now) ?? ([], [])
            if !keys.isEmpty { request.withheldKeys[id.slot] = keys }
            if !numbers.isEmpty { request.withheldNumbers[id.slot] = numbers }
        }
        self.request = request
    }
}
