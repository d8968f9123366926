internal import Logging

/// Handlers that hang: finds their deliveries, and says when the consumer is out of its group for them. The shell around
/// ``StuckHandlerClock`` and ``GroupLeave``, of the consumer's thread.
final class StuckHandlers {
    private let core: ConsumerCore
    private var leave = GroupLeave<PartitionReader>()
    /// By which the age of a delivery is told.
    private(set) var clock: StuckHandlerClock

    /// - Parameter otherInterval: How often metrics need the clock to move on.
    init(_ core: ConsumerCore, otherInterval: Duration?) {
        self.core = core
        self.clock = StuckHandlerClock(limit: core.configuration.handlerTimeout, otherInterval: otherInterval)
    }

    /// When the clock is to be moved on; it does not have to be while nothing is assigned.
    var next: ContinuousClock.Instant? { clock.next }

    /// Partitions are assigned: the clock stood still before.
    func began() {
        if clock.interval != nil { core.setStamp(clock.pulse(at: .now)) }
    }

    /// Moves the clock on where that is due, and looks for deliveries that are late.
    ///
    /// - Parameter isClosing: Whether the group is left anyway.
    func advance(_ readers: some Collection<PartitionReader>, isClosing: Bool) {
        let now = ContinuousClock.now
        guard !readers.isEmpty, let next = clock.next, next <= now else { return }
        core.setStamp(clock.pulse(at: now))
        guard let late = clock.lateStamp(at: now) else { return }
        let stuck = readers.filter { reportStuck(of: $0, late: late, at: now) }
        guard !stuck.isEmpty, core.configuration.stuckHandling == .leaveGroup, !isClosing, leave.noteStuck(stuck) else {
            return
        }
        core.logger.warning(
            "Leaving the group until what is stuck has ended",
            metadata: ["kafka_partitions": "\(stuck.map(\.partition))"]
        )
    }

    /// Tells of the deliveries of a partition that became late.
    ///
    /// - Returns: Whether there are any.
    private func reportStuck(
        of reader: PartitionReader,
        late: StuckHandlerClock.Stamp,
        at now: ContinuousClock.Instant
    ) -> Bool {
        let stuck = reader.markStuck(before: late)
        for delivery in stuck {
            let age = clock.age(of: delivery.stamp, at: now)
            let source = KafkaConsumer.Event.Source(partition: reader.partition, offset: delivery.offset)
            core.logger.warning(
                "A delivery has been in hand for longer than handlerTimeout",
                metadata: [
                    "kafka_delivery": "\(reader.partition) at \(delivery.offset)",
                    "kafka_generation": "\(reader.generation)",
                    "kafka_milliseconds": "\(age.milliseconds)",
                ]
            )
            core.events.send(.stuck(source, for: age))
        }
        return !stuck.isEmpty
    }

    /// Whether nothing in hand of a partition is worth waiting for: what made the consumer leave its group is not.
    func isDrained(_ reader: PartitionReader) -> Bool {
        leave.isUnderWay ? reader.busyCount == 0 : reader.heldCount == 0
    }

    /// Leaves the group because of a stuck handler, and joins again when what was stuck has ended.
    ///
    /// - Parameters:
    ///   - mayLeave: Whether the group would hear of it.
    ///   - isOut: Whether all partitions have been given back.
    func advanceLeave(mayLeave: @autoclosure () -> Bool, isOut: Bool) -> GroupLeave<PartitionReader>.Action? {
        guard leave.isUnderWay else { return nil }
        return leave.advance(mayLeave: mayLeave(), isOut: isOut, isStuck: { $0.stuckCount > 0 })
    }
}
