internal import DeliverySystem

/// The faults of one connection through a ``FaultRelay``.
final class FaultFilter: RelayFilter {
    /// What is remembered of one direction.
    private struct Direction {
        /// How many bytes have passed in the connection's life.
        var passed = 0
        /// When the next byte may pass, where so many a second may.
        var nextFree: Instant?
        /// The cut at random that is ahead: the mean that it was drawn with, and the bytes that it comes after.
        var cut: (mean: Int, after: Int)?
        var frames: FrameTracker
    }

    /// More requests are not under way on a connection: clients wait for answers. What is older is forgotten.
    private static let maximumRequests = 10_000

    private let state: FaultState
    private var requests = Direction(frames: FrameTracker(headBytes: 12))
    private var responses = Direction(frames: FrameTracker(headBytes: 8))
    /// The kind of each request that is not answered yet, by its correlation id.
    private var kinds: [Int32: Int16] = [:]
    private var cutsSeen: Int
    private var lossesSeen: Int
    /// Whether answers are being lost, and when that ends with a cut.
    private var isLosing = false
    private var cutAt: Instant?
    private var wasCut = false

    init(_ state: FaultState) {
        self.state = state
        (cutsSeen, lossesSeen) = state.withLock { shared in
            shared.statistics.connections += 1
            shared.statistics.openConnections += 1
            return (shared.cuts, shared.losses)
        }
    }

    /// Asked for each time, so that a change holds for all that is sent after it.
    private var faults: FaultRelay.Faults {
        state.withLock { $0.faults }
    }

    func close() {
        state.withLock { shared in
            shared.statistics.openConnections -= 1
            if wasCut { shared.statistics.cuts += 1 }
        }
    }

    func mayRead(from side: RelaySide) -> Bool {
        !(side == .client ? faults.requests : faults.responses).isBlackHole
    }

    func mayWrite(to side: RelaySide) -> Bool {
        mayRead(from: side.other)
    }

    func wakeUp(after now: Instant) -> Instant? {
        cutAt
    }

    func advance(at now: Instant, _ pipes: inout RelayPipes) {
        obey(at: now, &pipes)
        guard let cutAt, cutAt <= now else { return }
        wasCut = true
        pipes.cut()
    }

    /// Does what was asked for by hand.
    private func obey(at now: Instant, _ pipes: inout RelayPipes) {
        let (isCut, isLost, cutsAfter) = state.withLock { shared in
            defer { (cutsSeen, lossesSeen) = (shared.cuts, shared.losses) }
            return (shared.cuts != cutsSeen, shared.losses != lossesSeen, shared.lossCutsAfter)
        }
        if isLost { beginLosing(at: now, cutsAfter: cutsAfter) }
        if isCut {
            wasCut = true
            pipes.cut()
        }
    }

    func receive(_ bytes: UnsafeRawBufferPointer, from side: RelaySide, at now: Instant, into pipes: inout RelayPipes) {
        obey(at: now, &pipes)
        switch side {
        case .client:
            for frame in requests.frames.observe(bytes) { note(request: frame.head) }
            pass(bytes, side, faults.requests, &requests, at: now, into: &pipes)
        case .broker:
            let kept = keptBeforeLoss(bytes, at: now)
            pass(.init(rebasing: bytes.prefix(kept)), side, faults.responses, &responses, at: now, into: &pipes)
        }
    }
}

// MARK: Lost answers

extension FaultFilter {
    private func note(request head: [UInt8]) {
        guard let kind = head.bigEndian(Int16.self, at: 4), let id = head.bigEndian(Int32.self, at: 8) else { return }
        if kinds.count >= Self.maximumRequests { kinds = [:] }
        kinds[id] = kind
    }

    private func beginLosing(at now: Instant, cutsAfter: Duration?) {
        guard !isLosing else { return }
        isLosing = true
        cutAt = cutsAfter.map { now + max($0, .zero) }
        state.withLock { $0.statistics.lostResponses += 1 }
    }

    /// How many of the bytes from the broker are not lost.
    private func keptBeforeLoss(_ bytes: UnsafeRawBufferPointer, at now: Instant) -> Int {
        if isLosing { return 0 }
        let frames = responses.frames.observe(bytes)
        for frame in frames {
            let kind = frame.head.bigEndian(Int32.self, at: 4).flatMap { kinds.removeValue(forKey: $0) }
            if isLost(kind: kind) {
                beginLosing(at: now, cutsAfter: faults.responseLoss?.cutsAfter)
                return frame.position
            }
        }
        if frames.isEmpty, responses.frames.isOpaque, isLost(kind: nil) {
            beginLosing(at: now, cutsAfter: faults.responseLoss?.cutsAfter)
            return 0
        }
        return bytes.count
    }

    private func isLost(kind: Int16?) -> Bool {
        guard let loss = faults.responseLoss else { return false }
        let isLookedAt = loss.kinds.isEmpty || loss.kinds.contains { $0.apiKey == kind }
        return isLookedAt && state.withLock { $0.drawLoss(probability: loss.probability) }
    }
}

// MARK: Cuts, delays, throughput

extension FaultFilter {
    /// Puts bytes on their way, as many as pass before the next cut.
    private func pass(
        _ bytes: UnsafeRawBufferPointer,
        _ side: RelaySide,
        _ flow: FaultRelay.Faults.Flow,
        _ direction: inout Direction,
        at now: Instant,
        into pipes: inout RelayPipes
    ) {
        var bytes = bytes
        if let left = bytesUntilCut(flow, &direction), left <= bytes.count {
            bytes = .init(rebasing: bytes.prefix(left))
            wasCut = true
            pipes.closeWhenWritten()
        }
        guard !bytes.isEmpty else { return }
        direction.passed += bytes.count
        let count = bytes.count
        let jitter = state.withLock { shared in
            switch side {
            case .client: shared.statistics.requestBytes += count
            case .broker: shared.statistics.responseBytes += count
            }
            return shared.drawJitter(upTo: flow.jitter)
        }
        append(bytes, to: side.other, flow, delay: max(flow.delay, .zero) + jitter, &direction, at: now, into: &pipes)
    }

    private func append(
        _ bytes: UnsafeRawBufferPointer,
        to side: RelaySide,
        _ flow: FaultRelay.Faults.Flow,
        delay: Duration,
        _ direction: inout Direction,
        at now: Instant,
        into pipes: inout RelayPipes
    ) {
        var earliest: Instant? = delay > .zero ? now + delay : nil
        // What was sent before arrives before, also where it was held up for longer.
        if let last = pipes[to: side].lastDue, last > earliest ?? now { earliest = last }
        guard let rate = flow.bytesPerSecond.map({ max($0, 1) }) else {
            direction.nextFree = nil
            return pipes[to: side].append(Array(bytes), due: earliest)
        }
        // In pieces of a fiftieth of a second's worth, so that bytes trickle.
        let piece = max(rate / 50, 1)
        var index = 0
        while index < bytes.count {
            let count = min(piece, bytes.count - index)
            let due = max(earliest ?? now, direction.nextFree ?? now)
            pipes[to: side].append(Array(bytes[index..<index + count]), due: due)
            direction.nextFree = due + .seconds(1) * (Double(count) / Double(rate))
            index += count
        }
    }

    /// How many bytes may still pass; nil for any number.
    private func bytesUntilCut(_ flow: FaultRelay.Faults.Flow, _ direction: inout Direction) -> Int? {
        let fixed = flow.cutsAfterBytes.map { max($0 - direction.passed, 0) }
        guard let mean = flow.meanBytesBetweenCuts else {
            direction.cut = nil
            return fixed
        }
        if direction.cut?.mean != mean {
            direction.cut = (mean, direction.passed + state.withLock { $0.drawBytes(mean: mean) })
        }
        let drawn = direction.cut.map { max($0.after - direction.passed, 0) }
        return [fixed, drawn].compactMap(\.self).min()
    }
}

/// `log`, which has namesakes.
func naturalLogarithm(_ value: Double) -> Double {
    log(value)
}
