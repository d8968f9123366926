internal import Logging

/// Brings partitions to other offsets: where the application says, and where the consumer was told to begin. Nothing of them is
/// handed out meanwhile. What a starting point stands for is asked of brokers, on the consumer's thread for calls that block.
struct PartitionSeek {
    private let core: ConsumerCore

    init(_ core: ConsumerCore) {
        self.core = core
    }

    /// Moves partitions, and says to which offsets.
    func seek(
        _ partitions: [KafkaTopicPartition],
        to start: KafkaConsumer.Configuration.Start,
        until deadline: ContinuousClock.Instant
    ) async throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        let seek = PendingSeek()
        for reader in try core.readers(of: Array(Set(partitions))) { try seek.begin(reader) }
        let (found, stopped, failure) = try await core.blocking.run { [self] in
            Result { () throws(KafkaError) -> ([KafkaTopicPartition: Int64], [PartitionReader], KafkaError?) in
                let offsets = try offsets(of: seek.readers.map(\.partition), at: start, until: deadline)
                var stopped: [PartitionReader] = []
                let early = waitUntilSeekable(seek.readers, until: deadline)
                var failure = early.first.map { reader in
                    KafkaError(.timedOut, recovery: .retry, reason: "\(reader.partition) was not fetched yet")
                }
                for reader in seek.readers where !early.contains(where: { $0 === reader }) {
                    guard let offset = offsets[reader.partition] else { continue }
                    guard !reader.isFetchStopped else {
                        stopped.append(reader)
                        continue
                    }
                    guard let error = move(reader, to: offset, until: deadline) else { continue }
                    // It may have failed while no loop read it.
                    if core.configuration.autoOffsetReset == .failure, error.isState {
                        stopped.append(reader)
                    } else {
                        failure = error
                    }
                }
                return (offsets, stopped, failure)
            }
        }.get()
        let failed = stopped.compactMap { reader in found[reader.partition].map { (reader, $0) } }
        let last = failed.isEmpty ? failure : await restart(failed, until: deadline) ?? failure
        // Nothing of them is handed out before.
        withExtendedLifetime(seek) {}
        if let last { throw last }
        return found
    }

    /// Waits until partitions may be sought, see ``PartitionReader/mayBeSought()``. Blocks.
    ///
    /// - Returns: Those that may not be by the deadline.
    private func waitUntilSeekable(
        _ readers: [PartitionReader],
        until deadline: ContinuousClock.Instant
    ) -> [PartitionReader] {
        var waiting = readers.filter { !$0.mayBeSought() }
        // Where the group has committed an offset librdkafka begins there, and asks for none: there may be nothing to fetch.
        let unasked = waiting.filter { $0.startingOffset == PartitionOffset.none }.map(\.partition)
        if !unasked.isEmpty, core.configuration.hasGroup,
            // Not the whole time: they may be fetched meanwhile, and this thread is the other partitions' too.
            let committed = try? core.usableClient().committed(unasked, until: min(deadline, .now + .seconds(1)))
        {
            waiting.removeAll { committed[$0.partition] != nil }
        }
        while !waiting.isEmpty, .now < deadline {
            // Its queue tells the loops, which this thread is none of.
            RdKafkaClient.pause(milliseconds: 5)
            waiting.removeAll { $0.mayBeSought() }
        }
        return waiting.filter { !$0.mayBeSought() }
    }

    /// Reads partitions again that librdkafka has given up.
    private func restart(
        _ readers: [(PartitionReader, Int64)],
        until deadline: ContinuousClock.Instant
    ) async -> KafkaError? {
        await withCheckedContinuation { continuation in
            let restart = PartitionRestart(readers: readers, deadline: deadline, continuation: continuation)
            if !core.send(.restart(restart)) { continuation.resume(returning: .closed(persistence: nil)) }
        }
    }

    /// Blocks.
    private func move(
        _ reader: PartitionReader,
        to offset: Int64,
        until deadline: ContinuousClock.Instant
    ) -> KafkaError? {
        let patience = ContinuousClock.now.advanced(by: .milliseconds(500))
        while true {
            // Not longer than this at a time, because the end of a generation waits for it.
            let error = reader.seek(to: offset, within: .seconds(1))
            guard let error, error.recovery == .retry, error.kind != .assignmentEnded, .now < deadline else {
                return error
            }
            // What waits for the group's offset is not ready, and neither is what has failed. librdkafka says of neither when it is,
            // hence the pause.
            if core.configuration.autoOffsetReset == .failure, error.isState, .now > patience { return error }
            RdKafkaClient.pause()
        }
    }

    /// Which offsets a starting point stands for. Blocks.
    private func offsets(
        of partitions: [KafkaTopicPartition],
        at start: KafkaConsumer.Configuration.Start,
        until deadline: ContinuousClock.Instant
    ) throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        switch start {
        case .offset(let offset):
            guard offset >= 0 else { throw .invalidArgument("offset \(offset) is less than 0", persistence: nil) }
            let bounds = try core.watermarks(of: partitions, until: deadline)
            if core.configuration.autoOffsetReset == .failure,
                let missing = bounds.filter({ !$0.value.holds(offset) }).keys.min()
            {
                throw KafkaError(
                    .offsetOutOfRange,
                    recovery: .fixRequest,
                    reason: "\(missing) does not hold offset \(offset), and autoOffsetReset is failure"
                )
            }
            return bounds.mapValues { min(max(offset, $0.beginning), $0.end) }
        case .last(let count):
            guard count >= 0 else { throw .invalidArgument("the last \(count) are less than 0", persistence: nil) }
            return try core.watermarks(of: partitions, until: deadline).mapValues { bounds in
                bounds.end - bounds.beginning > count ? bounds.end - count : bounds.beginning
            }
        case .beginning:
            return try core.usableClient().offsets(at: PartitionOffset.beginning, of: partitions, until: deadline)
        case .end:
            return try core.usableClient().offsets(at: PartitionOffset.end, of: partitions, until: deadline)
        case .timestamp(let timestamp):
            // Less than zero would be asked for as a logical offset.
            let milliseconds = max(timestamp.millisecondsSince1970, 0)
            let found = try core.usableClient().offsets(at: milliseconds, of: partitions, until: deadline)
            return try complete(found.filter { $0.value >= 0 }, of: partitions, with: PartitionOffset.end, deadline)
        case .committed:
            let committed =
                try core.configuration.hasGroup ? core.usableClient().committed(partitions, until: deadline) : [:]
            let missing = partitions.filter { committed[$0] == nil }
            switch core.configuration.autoOffsetReset {
            case .beginning: return try complete(committed, of: partitions, with: PartitionOffset.beginning, deadline)
            case .end: return try complete(committed, of: partitions, with: PartitionOffset.end, deadline)
            case .failure:
                guard let first = missing.first else { return committed }
                throw KafkaError(
                    .offsetOutOfRange,
                    recovery: .fixRequest,
                    reason: "nothing is committed for \(first), and autoOffsetReset is failure"
                )
            }
        }
    }

    /// Looks up the beginning or the end of those partitions that have no offset yet.
    private func complete(
        _ known: [KafkaTopicPartition: Int64],
        of partitions: [KafkaTopicPartition],
        with logical: Int64,
        _ deadline: ContinuousClock.Instant
    ) throws(KafkaError) -> [KafkaTopicPartition: Int64] {
        let missing = partitions.filter { known[$0] == nil }
        let found = try core.usableClient().offsets(at: logical, of: missing, until: deadline)
        return known.merging(found) { known, _ in known }
    }

    /// Brings partitions for which a seek was begun somewhere else: newly assigned ones to where the consumer was told to start.
    /// Nothing of them is handed out before; what fails for a while is tried again, and the consumer goes on meanwhile.
    func bring(_ readers: [PartitionReader], to start: KafkaConsumer.Configuration.Start) {
        let job: @Sendable () -> Void = { [self] in
            let deadline = ContinuousClock.now.advanced(by: .seconds(5))
            var late: [PartitionReader] = []
            let current = readers.filter(\.isReading)
            do throws(KafkaError) {
                let offsets = try offsets(of: current.map(\.partition), at: start, until: deadline)
                late = waitUntilSeekable(current, until: deadline)
                var stopped: [(PartitionReader, Int64)] = []
                for reader in current where !late.contains(where: { $0 === reader }) {
                    guard let offset = offsets[reader.partition] else {
                        late.append(reader)
                        continue
                    }
                    guard !reader.isFetchStopped else {
                        stopped.append((reader, offset))
                        continue
                    }
                    guard let error = move(reader, to: offset, until: deadline) else {
                        started(reader, at: offset, toldTo: start)
                        continue
                    }
                    if error.kind != .assignmentEnded { late.append(reader) }
                }
                if !stopped.isEmpty { bringStopped(stopped, to: start) }
            } catch {
                core.report(error, of: current.first?.partition)
                if error.recovery == .retry {
                    late = current
                } else {
                    for reader in current {
                        reader.fail(error)
                        reader.finishSeek()
                    }
                }
            }
            if !late.isEmpty { core.send(.start(late, start, at: .now.advanced(by: .seconds(1)))) }
        }
        if !core.blocking.add(job) { core.send(.start(readers, start, at: .now.advanced(by: .seconds(1)))) }
    }

    /// Brings partitions there that librdkafka has given up, because nothing is committed or it is not there any more.
    private func bringStopped(_ readers: [(PartitionReader, Int64)], to start: KafkaConsumer.Configuration.Start) {
        Task.detached { [self] in
            if await restart(readers, until: .now.advanced(by: .seconds(5))) == nil {
                for (reader, offset) in readers { started(reader, at: offset, toldTo: start) }
            } else {
                core.send(.start(readers.map(\.0), start, at: .now.advanced(by: .seconds(1))))
            }
        }
    }

    private func started(
        _ reader: PartitionReader,
        at offset: Int64,
        toldTo start: KafkaConsumer.Configuration.Start
    ) {
        // Said before anything is handed out: the next generation does not start here again.
        core.send(.started(reader))
        if case .offset(let wanted) = start, offset != wanted {
            core.report(.startOutOfRange(reader.partition, wanted: wanted, found: offset), of: reader.partition)
        }
        reader.finishSeek()
    }
}

/// A seek that is under way. A class, because every partition that was stopped for it has to go on, however it ends.
private final class PendingSeek: Sendable {
    // Filled by the task that seeks, before it hands the seek to the thread of blocking calls; from then on it is only read, and
    // `deinit` runs after the last of the two has let go. No lock: nothing writes while another thread can read.
    nonisolated(unsafe) private(set) var readers: [PartitionReader] = []

    func begin(_ reader: PartitionReader) throws(KafkaError) {
        guard reader.beginSeek() else { throw .notAssigned(reader.partition) }
        readers.append(reader)
    }

    deinit {
        for reader in readers { reader.finishSeek() }
    }
}

extension KafkaConsumer.Watermarks {
    /// Whether reading can begin at an offset: at a message, or at the end.
    fileprivate func holds(_ offset: Int64) -> Bool {
        beginning <= offset && offset <= end
    }
}

extension KafkaError {
    /// A partition starts as near as it can to the offset that it was told to start at.
    fileprivate static func startOutOfRange(_ partition: KafkaTopicPartition, wanted: Int64, found: Int64) -> KafkaError
    {
        KafkaError(
            .offsetOutOfRange,
            recovery: .fixRequest,
            reason: found < wanted
                ? "\(partition) ends before offset \(wanted): it starts at its end, \(found)"
                : "\(partition) has nothing before offset \(found) any more: it starts there, and not at \(wanted)"
        )
    }
}
