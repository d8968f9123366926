/// What happens to a delivery whose handler ended: here alone a verdict follows from an outcome.
@usableFromInline
package struct FailureHandling<Host: HandlingHost>: Sendable {
    @usableFromInline
    package typealias Delivery = Host.Delivery
    @usableFromInline
    package typealias Copy = Host.Copy

    /// What becomes of a delivery after its handler.
    @usableFromInline
    package enum Step: Sendable {
        case ended(HandlingOutcome)
        /// A copy of it is to be published, see ``publish(_:_:)``.
        case givenUp(Copy)
    }

    /// What became of publishing a delivery that was given up.
    @usableFromInline
    package enum Publication: Sendable {
        case ended(HandlingOutcome)
        /// The application is to store it, see ``handOver(_:_:)``.
        case refused(RefusedLetter)
    }

    /// A dead letter that can never be stored, for the application.
    @usableFromInline
    package struct RefusedLetter: Sendable {
        let copy: Copy
        let letter: Host.Letter
        let error: Host.Failure
    }

    @usableFromInline
    package let host: Host
    @usableFromInline
    package let retry: RetryPolicy
    /// Whether what follows in its source waits for a delivery that backs off.
    @usableFromInline
    package let holdsOthers: Bool
    @usableFromInline let pending = PendingCopies<Delivery, Copy>()

    @usableFromInline
    package init(host: Host, retry: RetryPolicy, holdsOthers: Bool) {
        self.host = host
        self.retry = retry
        self.holdsOthers = holdsOthers
    }

    /// Runs a handler for each delivery of a sequence, one after the other.
    ///
    /// - Throws: What reading throws, and a handler's error where the message is given up and there is nowhere to put it.
    @inlinable
    package func run<Deliveries: AsyncSequence>(
        _ deliveries: Deliveries,
        _ handler: (Delivery) async throws -> Void
    ) async throws where Deliveries.Element == Delivery {
        for try await delivery in deliveries where !host.holdsBack(delivery) {
            _ = try await run(delivery, handler)
        }
    }

    /// Runs a handler for one delivery, and publishes it where it is given up. Returning acknowledges, throwing negatively
    /// acknowledges or gives up, cancellation leaves it unsettled.
    ///
    /// - Throws: The handler's error where the message is given up and there is nowhere to put it.
    @inlinable
    package func run(_ delivery: Delivery, _ handler: (Delivery) async throws -> Void) async throws -> HandlingOutcome {
        switch try await handle(delivery, handler) {
        case .ended(let outcome): outcome
        case .givenUp(let copy): try await finish(copy, delivery)
        }
    }

    /// Publishes a delivery that was given up, or hands it over.
    @usableFromInline
    package func finish(_ copy: Copy, _ delivery: Delivery) async throws -> HandlingOutcome {
        switch try await publish(copy, delivery) {
        case .ended(let outcome): outcome
        case .refused(let refused): try await handOver(refused, delivery)
        }
    }

    /// Runs a handler for one delivery, unless that was given up before.
    @inlinable
    package func handle(_ delivery: Delivery, _ handler: (Delivery) async throws -> Void) async throws -> Step {
        if let copy = pending.take(delivery) { return .givenUp(copy) }
        if let error = host.failureBeforeHandling(delivery) {
            return .givenUp(Copy(host.record(error, of: delivery), to: .deadLetters))
        }
        do {
            try await handler(delivery)
        } catch {
            return try failed(delivery, error)
        }
        if let outcome = delivery.settlement { return .ended(outcome) }
        delivery.acknowledge()
        return .ended(.settled)
    }

    /// Whether the handler is not to see a delivery: it failed before, or ends processes.
    @usableFromInline
    package func isGivenUp(_ delivery: Delivery) -> Bool {
        pending.contains(delivery) || host.failureBeforeHandling(delivery) != nil
    }

    /// What becomes of a delivery whose handler threw.
    ///
    /// - Throws: The error where the message is given up and there is nowhere to put it, and the one of ``HandlingStop/endLoop(_:)``.
    @usableFromInline
    package func failed(_ delivery: Delivery, _ error: any Error) throws -> Step {
        if case .endLoop(let error) = error as? HandlingStop { throw error }
        // The handler has said what becomes of it. It is not to be given up as well.
        if let outcome = delivery.settlement { return .ended(outcome) }
        if Task.isCancelled || error is HandlingStop { return .ended(.left) }
        switch retry.decide(attempt: delivery.attempt, error: error) {
        case .retry(let delay):
            delivery.negativelyAcknowledge(error, after: delay, holdingOthers: holdsOthers)
            host.note(.redelivery(attempt: delivery.attempt + 1, after: delay), of: delivery)
            return .ended(.backsOff)
        case .giveUp:
            // What was part of a transaction that was aborted is handed out again whatever is said here: its copy elsewhere
            // would be one more each time.
            if delivery.isPartOfTransaction { throw error }
            let record = host.record(error, of: delivery)
            if retry.isWorthAnotherAttempt(error), let route = host.retryRoute(after: record) {
                return .givenUp(Copy(record, to: .retry(route)))
            }
            guard host.hasDeadLetters else { throw error }
            return .givenUp(Copy(record, to: .deadLetters))
        }
    }
}

// MARK: Publishing

extension FailureHandling {
    /// Publishes a copy of a delivery, once. Only when that is confirmed is the original settled; otherwise it is handed out
    /// again after a while, for the next attempt at this: it waits as a message that failed does, held by no task.
    ///
    /// - Throws: The handler's error where there is nowhere to put the message; the error of ``HandlingStop/endLoop(_:)``.
    @usableFromInline
    package func publish(_ copy: Copy, _ delivery: Delivery) async throws -> Publication {
        guard delivery.isCurrent else { return .ended(.left) }
        if let outcome = delivery.settlement { return .ended(outcome) }
        switch copy.destination {
        case .retry(let route):
            switch await host.publish(copy.record, of: delivery, to: route) {
            case .cancelled: return .ended(.left)
            case .stored(let receipt):
                delivery.acknowledge()
                host.note(.storedForRetry(copy.record, receipt), of: delivery)
                return .ended(.settled)
            case .failed(let error):
                host.note(.retryCopyFailed(error), of: delivery)
                return .ended(backOff(noteEnd(copy, delivery, error), delivery, error))
            case .refused(let error, _):
                host.note(.retryCopyRefused(error, route), of: delivery)
                var copy = copy
                copy.destination = .deadLetters
                return try await publish(copy, delivery)
            }
        case .deadLetters:
            guard host.hasDeadLetters else { throw copy.record.error }
            return try await publishDeadLetter(copy, delivery)
        }
    }

    private func publishDeadLetter(_ copy: Copy, _ delivery: Delivery) async throws -> Publication {
        switch try await host.publishDeadLetter(copy.record, of: delivery) {
        case .cancelled: return .ended(.left)
        case .stored(let receipt):
            delivery.acknowledge()
            host.note(.deadLettered(copy.record, receipt), of: delivery)
            return .ended(.settled)
        case .failed(let error):
            host.note(.deadLetterFailed(error), of: delivery)
            return .ended(backOff(noteEnd(copy, delivery, error), delivery, error))
        case .refused(let error, let letter):
            var copy = copy
            if !copy.isCalledUnstorable { host.note(.deadLetterRefused(error, letter), of: delivery) }
            copy.isCalledUnstorable = true
            guard host.handsOverRefusedLetters else {
                host.note(.deadLetterFailed(error), of: delivery)
                return .ended(backOff(copy, delivery, error))
            }
            return .refused(RefusedLetter(copy: copy, letter: letter, error: error))
        }
    }

    /// Hands a delivery whose dead letter can never be stored over to the application. Where that says itself what becomes of the
    /// delivery, that counts.
    ///
    /// - Throws: The error of ``HandlingStop/endLoop(_:)``.
    @usableFromInline
    package func handOver(_ refused: RefusedLetter, _ delivery: Delivery) async throws -> HandlingOutcome {
        guard delivery.isCurrent, !Task.isCancelled else { return .left }
        if let outcome = delivery.settlement { return outcome }
        do {
            try await host.handOver(refused.letter, of: delivery, refused.error)
        } catch {
            if case .endLoop(let error) = error as? HandlingStop { throw error }
            if let outcome = delivery.settlement { return outcome }
            if Task.isCancelled || error is HandlingStop { return .left }
            host.note(.handOverFailed(refused.error, error), of: delivery)
            return backOff(refused.copy, delivery, error)
        }
        // Also where that was too late to count: the closure has not taken it.
        if let outcome = delivery.settlement, outcome != .settled { return outcome }
        delivery.acknowledge()
        host.note(.handedOver, of: delivery)
        return .settled
    }

    /// Hands a delivery back that was given up, unpublished, behind one that holds back what follows.
    @usableFromInline
    package func putBack(_ copy: Copy, _ delivery: Delivery) {
        pending.put(copy, delivery)
        if delivery.postpone(for: .zero, holdingOthers: holdsOthers) != .settled {
            _ = pending.take(delivery)
        }
    }

    /// Says once of a message that it waits for a client that will never send it. The message is not to blame.
    private func noteEnd(_ copy: Copy, _ delivery: Delivery, _ error: Host.Failure) -> Copy {
        guard error.recovery == .recreateClient, !copy.isClientCalledDone else { return copy }
        var copy = copy
        copy.isClientCalledDone = true
        host.note(.clientDone(copy, error), of: delivery)
        return copy
    }

    private func backOff(_ copy: Copy, _ delivery: Delivery, _ error: any Error) -> HandlingOutcome {
        var copy = copy
        let delay = copy.noteFailure()
        host.note(.copyPostponed(copy, error, after: delay), of: delivery)
        // Before it can be handed out again.
        pending.put(copy, delivery)
        switch delivery.postpone(for: delay, holdingOthers: holdsOthers) {
        case .settled: return .backsOff
        case .ended: return .left
        case .repeated, .contradicted:
            // The application has settled it meanwhile.
            _ = pending.take(delivery)
            return delivery.settlement ?? .left
        }
    }
}
