internal import Synchronization

extension KafkaConsumer {
    /// The deliveries of all assigned partitions.
    public struct Deliveries: AsyncSequence, Sendable {
        /// A delivery.
        public typealias Element = Delivery

        let core: ConsumerCore

        /// Begins, or goes on with, reading.
        public func makeAsyncIterator() -> Iterator {
            Iterator(cursor: Cursor(core: core))
        }

        /// Reads the deliveries. Runs where the loop runs, without changing executors.
        public struct Iterator: AsyncIteratorProtocol {
            @usableFromInline let cursor: Cursor

            init(cursor: Cursor) {
                self.cursor = cursor
            }

            /// The next delivery; nil when the consumer is closed, the task cancelled or its service shut down.
            ///
            /// - Throws: ``KafkaError`` where the consumer cannot go on.
            public mutating func next() async throws(KafkaError) -> Delivery? {
                try await next(isolation: #isolation)
            }

            /// The next delivery; nil when the consumer is closed, the task cancelled or its service shut down.
            ///
            /// - Throws: ``KafkaError`` where the consumer cannot go on.
            @inlinable
            public mutating func next(
                isolation: isolated (any Actor)?
            ) async throws(KafkaError) -> Delivery? {
                while !Task.isCancelled {
                    if let delivery = try cursor.takeNow() { return delivery }
                    guard try await cursor.wait(isolation: isolation) else { return nil }
                }
                cursor.leave()
                return nil
            }
        }
    }

    /// Where a loop over all partitions is: which one it goes on with. That does not keep others from reading it, see
    /// ``ReadyPartitions``. A class, because the partition of a loop that was left is for another loop to read.
    @usableFromInline
    final class Cursor {
        /// After so many deliveries of one partition, others that are ready come first.
        private static let run = 64

        private let core: ConsumerCore
        // Unmanaged: it is a partition's reader for as long as the loop has it in hand, and is not retained and released for
        // each of its messages.
        private var reader: Unmanaged<PartitionReader>?
        /// What was known of it when the loop was told to look.
        private var news: ReadyPartitions<PartitionReader>.News = 0
        private var taken = 0
        // Made in the task of the loop, when it waits first.
        private var shutdown: ShutdownWatch?

        init(core: ConsumerCore) {
            self.core = core
        }

        deinit {
            leave()
        }

        /// The next delivery, where there is one without waiting. Not async, and called from the loop itself, where the
        /// compiler puts what is inlinable: a loop that keeps up with the fetcher pays for no async call.
        @usableFromInline
        func takeNow() throws(KafkaError) -> Delivery? {
            if let shutdown, shutdown.isShuttingDown {
                leave()
                return nil
            }
            while let reader {
                switch reader._withUnsafeGuaranteedRef({ $0.take() }) {
                case .delivery(let delivery):
                    taken += 1
                    if taken == Self.run {
                        leave()
                    } else if core.loopsWait.load(ordering: .relaxed) {
                        core.handOn(reader.takeUnretainedValue())
                    }
                    return delivery
                case .empty, .full:
                    self.reader = nil
                    core.foundNothing(in: reader.takeRetainedValue(), since: news)
                case .ended:
                    self.reader = nil
                    reader.release()
                case .failed(let error):
                    leave()
                    throw error
                }
            }
            return nil
        }

        /// Waits until there is a partition to read; false when there will be none, the task was cancelled, or the time is up.
        @usableFromInline
        func wait(
            isolation: isolated (any Actor)?,
            until deadline: ContinuousClock.Instant? = nil
        ) async throws(KafkaError) -> Bool {
            let shutdown = shutdown ?? ShutdownWatch { [core] in core.endWaits(of: $0) }
            self.shutdown = shutdown
            if shutdown.isShuttingDown { return false }
            let wake: ReadyPartitions<PartitionReader>.Wake
            if let deadline {
                guard let next = await core.nextReady(until: deadline, unless: shutdown.flag) else { return false }
                wake = next
            } else {
                wake = await core.nextReady(unless: shutdown.flag)
            }
            switch wake {
            case .look(let reader, let news):
                // Where copies of an iterator wait at the same time, this may not be the first.
                leave()
                self.reader = .passRetained(reader)
                self.news = news
                taken = 0
                return true
            case .ended:
                if !Task.isCancelled, !shutdown.isShuttingDown, let failure = core.failure { throw failure }
                return false
            }
        }

        /// Does not go on with the partition.
        @usableFromInline
        func leave() {
            guard let reader = reader.take()?.takeRetainedValue() else { return }
            core.putBack(reader)
        }
    }

    /// The partitions as they are assigned.
    public struct Partitions: AsyncSequence, Sendable {
        /// A partition.
        public typealias Element = Partition

        let core: ConsumerCore

        /// Begins, or goes on with, waiting for partitions.
        public func makeAsyncIterator() -> Iterator {
            Iterator(core: core, loop: WaiterID.next())
        }

        /// Waits for partitions.
        public struct Iterator: AsyncIteratorProtocol {
            let core: ConsumerCore
            /// Later loops have greater numbers.
            let loop: UInt64
            // Made in the task of the loop. It is the one of the loops over the partitions, too.
            private var shutdown: ShutdownWatch?

            init(core: ConsumerCore, loop: UInt64) {
                self.core = core
                self.loop = loop
            }

            /// The next partition to be assigned; nil when the consumer is closed, the task cancelled or its service shut
            /// down.
            ///
            /// - Throws: ``KafkaError`` where the consumer cannot go on.
            public mutating func next() async throws(KafkaError) -> Partition? {
                try await next(isolation: #isolation)
            }

            /// The next partition to be assigned; nil when the consumer is closed, the task cancelled or its service shut
            /// down.
            ///
            /// - Throws: ``KafkaError`` where the consumer cannot go on.
            public mutating func next(
                isolation: isolated (any Actor)?
            ) async throws(KafkaError) -> Partition? {
                let shutdown = shutdown ?? ShutdownWatch { [core] in core.endWaits(of: $0) }
                self.shutdown = shutdown
                if let reader = await core.nextAssigned(for: loop, unless: shutdown.flag) {
                    return Partition(ownership: Ownership(core: core, reader: reader, loop: loop, shutdown: shutdown))
                }
                if let failure = core.failure, !Task.isCancelled, !shutdown.isShuttingDown { throw failure }
                return nil
            }
        }
    }

    /// One partition in one generation: a sequence of its deliveries, in order, that ends when it is revoked.
    public struct Partition: AsyncSequence, Sendable {
        /// A delivery.
        public typealias Element = Delivery

        let ownership: Ownership

        /// The topic.
        public var topic: String { ownership.reader.partition.topic }

        /// The partition's number.
        public var partition: Int { ownership.reader.partition.partition }

        /// The period of owning it, see ``Delivery/generation``.
        public var generation: Int { ownership.reader.generation }

        /// Begins, or goes on with, reading.
        public func makeAsyncIterator() -> Iterator {
            ownership.core.beginOwnLoop(ownership.reader)
            return Iterator(ownership: ownership)
        }

        /// Reads the partition's deliveries. Runs where the loop runs, without changing executors.
        public struct Iterator: AsyncIteratorProtocol {
            let ownership: Ownership
            /// What was known of the partition when it was looked at last.
            private var news: ReadyPartitions<PartitionReader>.News = 0

            init(ownership: Ownership) {
                self.ownership = ownership
            }

            /// The next delivery; nil when the partition is revoked, the consumer closed, the task cancelled or its
            /// service shut down.
            ///
            /// - Throws: ``KafkaError`` where the partition cannot go on.
            public mutating func next() async throws(KafkaError) -> Delivery? {
                try await next(isolation: #isolation)
            }

            /// The next delivery; nil when the partition is revoked, the consumer closed, the task cancelled or its
            /// service shut down.
            ///
            /// - Throws: ``KafkaError`` where the partition cannot go on.
            @inlinable
            public mutating func next(
                isolation: isolated (any Actor)?
            ) async throws(KafkaError) -> Delivery? {
                while !Task.isCancelled {
                    switch try takeNow() {
                    case .delivery(let delivery): return delivery
                    case .ended: return try end()
                    case .nothing: if await !wait(isolation: isolation) { return try end() }
                    }
                }
                leave()
                return nil
            }

            @usableFromInline
            enum Taken {
                case delivery(Delivery)
                case nothing
                case ended
            }

            /// The next delivery, where there is one without waiting. Not async, as a cursor's.
            @usableFromInline
            func takeNow() throws(KafkaError) -> Taken {
                if ownership.shutdown.isShuttingDown { return .ended }
                switch ownership.reader.take() {
                case .delivery(let delivery): return .delivery(delivery)
                case .empty, .full: return .nothing
                case .ended: return .ended
                case .failed(let error): throw error
                }
            }

            /// Waits until there may be one; false where there will be none.
            @usableFromInline
            mutating func wait(isolation: isolated (any Actor)?) async -> Bool {
                await ownership.core.waitForNews(of: ownership.reader, since: &news, unless: ownership.shutdown.flag)
            }

            /// The loop ends, perhaps when it had just been told to look: others that wait look instead of it.
            @usableFromInline
            func leave() {
                ownership.core.putBack(ownership.reader)
            }

            @usableFromInline
            func end() throws(KafkaError) -> Delivery? {
                if let failure = ownership.core.failure, !Task.isCancelled, !ownership.shutdown.isShuttingDown {
                    throw failure
                }
                leave()
                return nil
            }

            /// The next delivery, if there is one before some time; nil also where ``next()`` would give nil.
            mutating func next(until deadline: ContinuousClock.Instant) async throws(KafkaError) -> Delivery? {
                var isWakeOrdered = false
                while !Task.isCancelled, !ownership.shutdown.isShuttingDown {
                    switch ownership.reader.take() {
                    case .delivery(let delivery): return delivery
                    case .empty, .full: break
                    case .ended: return nil
                    case .failed(let error): throw error
                    }
                    guard ContinuousClock.now < deadline else { return nil }
                    if !isWakeOrdered { ownership.core.wake(ownership.reader, at: deadline) }
                    isWakeOrdered = true
                    _ = await ownership.core.waitForNews(
                        of: ownership.reader,
                        since: &news,
                        unless: ownership.shutdown.flag
                    )
                }
                return nil
            }
        }
    }

    /// A partition in the hands of a loop over ``partitions``. A class, because a partition that was let go of while it
    /// is still assigned has to be given back: it would otherwise stand still unnoticed.
    final class Ownership: Sendable {
        let core: ConsumerCore
        let reader: PartitionReader
        private let loop: UInt64
        let shutdown: ShutdownWatch

        init(core: ConsumerCore, reader: PartitionReader, loop: UInt64, shutdown: ShutdownWatch) {
            self.core = core
            self.reader = reader
            self.loop = loop
            self.shutdown = shutdown
        }

        deinit {
            core.release(reader, from: loop)
        }
    }
}
