/// Handing over many messages at once.
extension ProducerCore {
    /// Hands messages to librdkafka, until one would have to wait for space.
    ///
    /// - Parameters:
    ///   - messages: As many as the block has slots.
    ///   - block: For the outcomes, also of those that are refused.
    ///   - topics: For the topics of those that were handled.
    /// - Returns: How many were handled.
    func handOver(
        _ messages: UnsafeBufferPointer<KafkaMessage>,
        _ block: SendBlock,
        _ topics: inout BatchOfSends.Topics
    ) -> Int {
        let isOpen = path.put(block)
        var run = ProduceRun()
        var progress = BatchProgress()
        // By index: a loop over the messages would copy each.
        while progress.handled < messages.count, !progress.isFull {
            let first = progress.handled
            topics.note(messages[first].topic, at: first)
            do throws(KafkaError) {
                guard isOpen, !path.isClosed else { throw .closed() }
                let topic = try validTopic(of: messages[first])
                if Task.isCancelled { throw .cancelled(persistence: .notPersisted) }
                if waitQueue.hasSpaceWaiters { break }
                if stampsIdempotencyKey {
                    let message = messages[first].stampedWithIdempotencyKey()
                    note(produce(message, to: topic, block.promise(first).opaque), of: message, block, &progress)
                    continue
                }
                run.collect(messages, from: first) { block.promise($0).opaque }
                if run.count < 2 {
                    let code = produce(messages[first], to: topic, block.promise(first).opaque)
                    note(code, of: messages[first], block, &progress)
                } else if let topic = topic ?? lookUpTopic(messages[first].topic) {
                    produce(&run, of: messages, to: topic, block, &progress)
                } else {
                    throw refusal(.last, of: messages[first])
                }
            } catch {
                block.promise(first).resolve(error)
                progress.handled += 1
            }
        }
        if isOpen { path.noteReturn() }
        if !isOpen {
            // No other task knows of it.
            block.end()
        } else if progress.accepted < messages.count {
            waitQueue.withLock { _ = $0.refuse(block, count: messages.count - progress.accepted) }
            // It may have the reports of all others, and then a flush waits for this.
            queue.interrupt()
        }
        return progress.handled
    }

    private struct BatchProgress {
        /// Those that were accepted, or refused for good.
        var handled = 0
        var accepted = 0
        /// Whether the next one has to wait.
        var isFull = false
    }

    private func produce(
        _ run: inout ProduceRun,
        of messages: UnsafeBufferPointer<KafkaMessage>,
        to topic: Unmanaged<RdKafkaTopic>,
        _ block: SendBlock,
        _ progress: inout BatchProgress
    ) {
        let first = progress.handled
        guard !topic._withUnsafeGuaranteedRef({ run.produce(to: $0) }) else {
            progress.handled += run.count
            progress.accepted += run.count
            return
        }
        for index in 0..<run.count where !progress.isFull {
            note(run[index], of: messages[first + index], block, &progress)
        }
    }

    /// Notes what librdkafka said of the next message.
    private func note(
        _ code: RdKafkaCode,
        of message: KafkaMessage,
        _ block: SendBlock,
        _ progress: inout BatchProgress
    ) {
        switch code {
        case .success: progress.accepted += 1
        case .queueFull:
            progress.isFull = true
            return
        case let code where code.isUnknownTopicOrPartition:
            progress.isFull = true
            return
        default: block.promise(progress.handled).resolve(refusal(code, of: message))
        }
        progress.handled += 1
    }
}
