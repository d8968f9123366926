public import DequeModule

/// Which lane a delivery belongs to.
@usableFromInline
package enum LaneKey<Key: Hashable & Sendable>: Hashable, Sendable {
    case key(ObjectIdentifier, Key)
    /// A delivery that waits for no other.
    case alone(ObjectIdentifier, DeliverySequence)

    // Written out, because what the compiler derives is not inlinable: from a client's module it would be called for any key there
    // is, and look for the key's type at run time, several times a message.
    @inlinable
    package static func == (one: Self, other: Self) -> Bool {
        switch one {
        case .key(let source, let key):
            guard case .key(source, let otherKey) = other else { return false }
            return key == otherKey
        case .alone(let source, let sequence):
            guard case .alone(source, sequence) = other else { return false }
            return true
        }
    }

    @inlinable
    package func hash(into hasher: inout Hasher) {
        switch self {
        case .key(let source, let key):
            hasher.combine(source)
            hasher.combine(key)
        case .alone(let source, let sequence):
            hasher.combine(source)
            hasher.combine(sequence)
        }
    }
}

/// When lanes of partitions that are gone are looked for: whenever this is another than at the last delivery.
@usableFromInline
package struct LaneEpoch: Equatable, Sendable {
    let generation: Int
    /// How often a source went on elsewhere.
    let restarts: Int

    @usableFromInline
    package init(generation: Int, restarts: Int) {
        self.generation = generation
        self.restarts = restarts
    }
}

/// What becomes of a delivery that was read.
@usableFromInline
package enum LaneOffer: Sendable {
    case run
    case queued
    /// There is no place: wait until one is free, and offer it again.
    case full
}

/// Which deliveries run, and which wait behind another of their key. A value without threads.
///
/// A lane is a key of a source (a partition in a generation): one of its deliveries runs at a time, in order. While one that failed
/// backs off, or one that was given up is published, the lane holds the later ones back and occupies no place among those that
/// run.
@usableFromInline
package struct KeyLanes<Delivery: SettleableDelivery>: Sendable {
    @usableFromInline
    package typealias Key = LaneKey<Delivery.OrderKey>

    /// How a lane goes on that occupies no place.
    @usableFromInline
    package enum Resumption: Sendable {
        case run(Delivery)
        /// There is nothing to run.
        case idle
        /// There is no place: wait until one is free, and ask again.
        case full
    }

    @usableFromInline
    struct Lane: Sendable {
        @usableFromInline let source: any DeliverySource
        @usableFromInline var waiting: Deque<Delivery> = []
        /// The one that backs off, and has to come before those that wait.
        @usableFromInline var backingOff: DeliverySequence?

        @inlinable
        init(source: any DeliverySource) { self.source = source }
    }

    /// How many may run at a time.
    @usableFromInline let maximum: Int
    /// How many may wait behind others before reading stops: 16 for each that may run.
    @usableFromInline let maximumWaiting: Int

    @usableFromInline var lanes: [Key: Lane] = [:]
    @usableFromInline package internal(set) var runningCount = 0
    @usableFromInline package internal(set) var waitingCount = 0
    @usableFromInline var backingOffCount = 0
    @usableFromInline var parkedCount = 0

    @inlinable
    package init(maximum: Int) {
        self.maximum = max(maximum, 1)
        let (product, overflow) = self.maximum.multipliedReportingOverflow(by: 16)
        maximumWaiting = overflow ? .max : product
    }

    @usableFromInline
    package var laneCount: Int { lanes.count }

    /// Takes a delivery in, if there is a place for it.
    @inlinable
    package mutating func offer(_ delivery: Delivery, _ key: Key) -> LaneOffer {
        let sequence = delivery.deliverySequence
        guard let lane = lanes[key] else {
            guard runningCount < maximum else { return .full }
            lanes[key] = Lane(source: delivery.deliverySource)
            runningCount += 1
            return .run
        }
        if lane.backingOff == sequence {
            guard runningCount < maximum else { return .full }
            lanes[key]?.backingOff = nil
            backingOffCount -= 1
            runningCount += 1
            return .run
        }
        // Where a lane backs off, what ends that comes behind what is read now: reading has to go on. So it has where a lane
        // waits for a broker. It is bounded by how many deliveries of a partition may be unsettled.
        guard waitingCount < maximumWaiting || backingOffCount + parkedCount > 0 else { return .full }
        lanes[key]?.waiting.append(delivery)
        waitingCount += 1
        return .queued
    }

    /// What runs next in a lane whose delivery is done; nil where nothing does.
    @inlinable
    package mutating func finished(_ key: Key) -> Delivery? {
        runningCount -= 1
        guard let next = lanes[key]?.waiting.popFirst() else {
            lanes[key] = nil
            return nil
        }
        waitingCount -= 1
        runningCount += 1
        return next
    }

    /// The lane's delivery failed and is handed out again later. Where it was handed out again already, before this was
    /// said, it runs next.
    @inlinable
    package mutating func backsOff(_ key: Key, _ sequence: DeliverySequence) -> Delivery? {
        if let index = lanes[key]?.waiting.firstIndex(where: { $0.deliverySequence == sequence }) {
            waitingCount -= 1
            return lanes[key]?.waiting.remove(at: index)
        }
        runningCount -= 1
        backingOffCount += 1
        lanes[key]?.backingOff = sequence
        return nil
    }

    /// The lane's delivery was given up and is to be published: nothing is run meanwhile.
    ///
    /// - Returns: Whether the lane is parked. It is not, and keeps its place, where as many are as may wait behind others: so that
    ///   is how many are published at a time beyond those that run.
    @inlinable
    package mutating func park(_ key: Key) -> Bool {
        guard parkedCount < maximumWaiting else { return false }
        runningCount -= 1
        parkedCount += 1
        return true
    }

    /// The application's code is to run for the delivery of a lane that is parked.
    ///
    /// - Returns: Whether the lane has a place, and is not parked any more; otherwise wait until one is free, and ask again.
    @inlinable
    package mutating func enter(_ key: Key) -> Bool {
        guard runningCount < maximum else { return false }
        parkedCount -= 1
        runningCount += 1
        return true
    }

    /// The lane's delivery was published, or is handed out again later for that.
    ///
    /// - Parameter sequence: The delivery's, where it is handed out again.
    /// - Returns: Never `full`, where the lane has nothing to run.
    @inlinable
    package mutating func unpark(_ key: Key, backingOff sequence: DeliverySequence?) -> Resumption {
        parkedCount -= 1
        if let sequence {
            guard let index = lanes[key]?.waiting.firstIndex(where: { $0.deliverySequence == sequence }) else {
                backingOffCount += 1
                lanes[key]?.backingOff = sequence
                return .idle
            }
            // It was handed out again already.
            if let again = lanes[key]?.waiting.remove(at: index) { lanes[key]?.waiting.prepend(again) }
        }
        return resume(key)
    }

    /// Goes on with a lane that occupies no place and waits for nothing else.
    @inlinable
    package mutating func resume(_ key: Key) -> Resumption {
        guard let next = lanes[key]?.waiting.first else {
            lanes[key] = nil
            return .idle
        }
        guard runningCount < maximum else { return .full }
        lanes[key]?.waiting.removeFirst()
        waitingCount -= 1
        runningCount += 1
        return .run(next)
    }

    /// Lets go of lanes whose source is gone, or goes on elsewhere: what they wait for does not come any more.
    @inlinable
    package mutating func removeEnded() {
        for (key, lane) in lanes {
            guard let sequence = lane.backingOff, !lane.source.isCurrent(sequence) else { continue }
            waitingCount -= lane.waiting.count
            backingOffCount -= 1
            lanes[key] = nil
        }
    }
}
