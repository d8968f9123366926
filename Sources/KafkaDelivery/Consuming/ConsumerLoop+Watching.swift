internal import Logging

/// Handlers that hang.
extension ConsumerLoop {
    /// Moves the coarse clock on where that is due, and looks for deliveries that are late.
    func advanceWatch() {
        let now = clock.now
        guard !readers.isEmpty, let next = watch.next, next <= now else { return }
        core.setStamp(watch.pulse(at: now))
        guard let late = watch.lateStamp(at: now) else { return }
        let stuck = readers.values.filter { reportStuck(of: $0, late: late, at: now) }
        if !stuck.isEmpty { giveUp(stuck) }
    }

    /// Tells of the deliveries of a partition that became late.
    ///
    /// - Returns: Whether there are any.
    private func reportStuck(of reader: PartitionReader, late: StuckHandlerClock.Stamp, at now: Instant) -> Bool {
        let stuck = reader.markStuck(before: late)
        for delivery in stuck {
            let age = watch.age(of: delivery.stamp, at: now)
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

    /// Leaves the group, where the consumer was told to.
    private func giveUp(_ stuck: [PartitionReader]) {
        guard core.configuration.stuckHandling == .leaveGroup, closing == nil, groupLeave.noteStuck(stuck) else {
            return
        }
        core.logger.warning(
            "Leaving the group until what is stuck has ended",
            metadata: ["kafka_partitions": "\(stuck.map(\.partition))"]
        )
        advanceGroupLeave()
    }

    /// Leaves the group because of a stuck handler, and joins again when what was stuck has ended.
    func advanceGroupLeave() {
        guard groupLeave.isUnderWay, closing == nil else { return }
        let isOut = revocation == nil && readers.isEmpty
        switch groupLeave.advance(mayLeave: maySayGoodbye, isOut: isOut, isStuck: { $0.stuckCount > 0 }) {
        case .leave:
            isSubscribed = false
            if let error = client.unsubscribe() { core.report(error) }
        case .rejoin:
            core.logger.notice("Joining the group again")
            begin()
        case nil:
            break
        }
    }
}
