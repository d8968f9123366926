internal import Synchronization

/// What metrics are told.
extension ConsumerLoop {
    /// Brings metrics up to date, where that is due.
    func advanceMetrics() {
        let now = clock.now
        guard !readers.isEmpty, let next = metrics?.next, next <= now else { return }
        exportMetrics(at: now)
    }

    func exportMetrics(at now: Instant) {
        guard metrics != nil else { return }
        let snapshot = ConsumerSnapshot(
            partitions: readers.mapValues { $0.snapshot(watch, at: now) },
            lateVerdicts: core.lateCount,
            events: core.events.counts
        )
        metrics?.export(snapshot, at: now)
    }
}

extension PartitionReader {
    func snapshot(_ watch: StuckHandlerClock, at now: StuckHandlerClock.Instant) -> ConsumerSnapshot.Partition {
        let (totals, unsettled, oldest, unfinished) = state.withLock { state in
            let first = state.tracker.firstUnsettled
            return (
                state.tracker.totals, state.tracker.unsettledCount, first?.stamp,
                first?.offset ?? state.pending?.offset ?? state.position
            )
        }
        let end = core.client?.cachedEnd(of: partition) ?? -1
        return ConsumerSnapshot.Partition(
            totals: totals,
            unsettled: unsettled,
            oldestAge: oldest.map { watch.age(of: $0, at: now) },
            lag: end < 0 ? nil : unfinished.map { end.distance(after: $0) }
        )
    }
}
