internal import Synchronization

extension KafkaProducer {
    /// A message that was accepted for sending, and whose report is still to come.
    ///
    /// Await ``report`` now, later, more than once, from several tasks, or never: the message is sent all the same. Some memory
    /// is shared by up to 64 of them, and is free when none of those is left.
    public struct PendingDelivery: Sendable {
        /// Keeps the promise alive, where it is said to: that is only a pointer into the block.
        private let block: SendBlock
        let promise: DeliveryPromise
        private let topic: String

        init(_ block: SendBlock, _ promise: DeliveryPromise, topic: String) {
            self.block = block
            self.promise = promise
            self.topic = topic
        }

        /// Waits for the broker's answer.
        ///
        /// - Returns: Where the message is stored.
        /// - Throws: ``KafkaError``: that it is not, or may not be, stored, and why. A task that is cancelled while it
        ///   waits gets `.cancelled` with `possiblyPersisted` at once, for the message cannot be recalled; others that
        ///   await the same report are not affected.
        public var report: KafkaDeliveryReport {
            @inlinable get async throws(KafkaError) {
                // Here too: what has its report already is read without another async call.
                if let report = try reportNow { return report }
                return try await waitForReport()
            }
        }

        /// A function and not a getter: it goes on where the caller runs, so that a send on an actor is not resumed on the
        /// pool first, to be sent on from there.
        @usableFromInline
        func waitForReport() async throws(KafkaError) -> KafkaDeliveryReport {
            defer { extendLifetime(block) }
            await promise.waitWithOthers()
            return try reportOrCancelled
        }

        /// The report, or nil where there is none yet.
        @usableFromInline
        var reportNow: KafkaDeliveryReport? {
            get throws(KafkaError) {
                defer { extendLifetime(block) }
                return try promise.report(topic)
            }
        }

        /// The report, or why there is none, where that is known already.
        var resultNow: Result<KafkaDeliveryReport, KafkaError>? {
            defer { extendLifetime(block) }
            return promise.result(topic)
        }

        /// Tells an observer what becomes of the message.
        func tell(_ observer: some SendObserver) {
            defer { extendLifetime(block) }
            promise.add(SendWatcher(.tell(observer)))
        }

        /// The same as ``report``, once, for the only task that has this.
        func onlyReport() async throws(KafkaError) -> KafkaDeliveryReport {
            defer { extendLifetime(block) }
            await promise.wait()
            return try reportOrCancelled
        }

        private var reportOrCancelled: KafkaDeliveryReport {
            get throws(KafkaError) {
                guard let report = try reportNow else { throw .cancelled(persistence: .possiblyPersisted) }
                return report
            }
        }
    }
}
