internal import Logging

/// Handlers that hang.
extension ConsumerLoop {
    /// The group was left because of deliveries that the application has held for too long.
    struct GroupLeave {
        /// The partitions they are from. When the application holds those deliveries no longer the group is joined again.
        var readers: [PartitionReader]
        /// Whether librdkafka was told: not while the group would not hear of it.
        var hasLeft = false
    }

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

    /// Leaves the group, where the consumer was told to: a member cannot give up one partition, because the group's
    /// assignor would give it back.
    private func giveUp(_ stuck: [PartitionReader]) {
        guard core.configuration.stuckHandling == .leaveGroup, closing == nil else { return }
        if groupLeave != nil {
            groupLeave?.readers.append(contentsOf: stuck)
            return
        }
        groupLeave = GroupLeave(readers: stuck)
        core.logger.warning(
            "Leaving the group until what is stuck has ended",
            metadata: ["kafka_partitions": "\(stuck.map(\.partition))"]
        )
        leaveForNow()
    }

    private func leaveForNow() {
        guard groupLeave?.hasLeft == false, maySayGoodbye else { return }
        groupLeave?.hasLeft = true
        isSubscribed = false
        if let error = client.unsubscribe() { core.report(error) }
    }

    /// Joins the group again when what was stuck has ended.
    func advanceGroupLeave() {
        if closing == nil { leaveForNow() }
        guard let groupLeave, groupLeave.hasLeft, closing == nil, revocation == nil, readers.isEmpty,
            groupLeave.readers.allSatisfy({ $0.stuckCount == 0 })
        else { return }
        self.groupLeave = nil
        core.logger.notice("Joining the group again")
        begin()
    }
}
