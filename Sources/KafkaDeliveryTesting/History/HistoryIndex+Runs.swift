internal import KafkaDelivery

/// The order of deliveries within one consumer's owning one partition.
extension HistoryIndex {
    func runAnomalies() -> [Anomaly] {
        runs.flatMap { run, steps in
            orderAnomalies(run, steps) + skips(run, steps)
        }
    }

    private func orderAnomalies(_ run: Run, _ steps: [Step]) -> [Anomaly] {
        let order = order(of: run.ownership.process)
        let isStrict = order == .partition || order == .key
        var found: [Anomaly] = []
        var attempts: [Int64: Int] = [:]
        var failed: Set<Int64> = []
        var highest: Int64 = -1
        func report(_ step: Step, _ what: String) {
            let position = Position(run.ownership.partition, step.offset)
            found.append(Anomaly(.nonMonotonicPoll, position, "\(run.ownership): \(position) \(what)"))
        }
        for step in steps {
            let offset = step.offset
            if step.isFailure {
                if !isGivenUp(step, steps, run) { failed.insert(offset) }
                continue
            }
            let previous = attempts[offset]
            if step.attempt == 1 {
                if previous != nil {
                    report(step, "came for the first time twice")
                } else if offset < highest {
                    report(step, "came after \(highest)")
                }
            } else if previous != step.attempt - 1 {
                report(step, "came with attempt \(step.attempt) after \(previous.map { "attempt \($0)" } ?? "none")")
            } else if !failed.contains(offset) {
                report(step, "came again without having failed")
            }
            if isStrict, let first = failed.min(), first < offset {
                report(step, "came while \(first), which had failed, had not come again")
            }
            failed.remove(offset)
            attempts[offset] = step.attempt
            highest = max(highest, offset)
        }
        return found
    }

    /// Whether a failure was the last: then nothing has to wait for the message to come again.
    private func isGivenUp(_ failure: Step, _ steps: [Step], _ run: Run) -> Bool {
        if let maximum = processes[run.ownership.process]?.maximumAttempts, failure.attempt >= maximum { return true }
        guard messages[Position(run.ownership.partition, failure.offset)]?.hasDeadLetter == true else { return false }
        return !steps.contains { $0.offset == failure.offset && $0.attempt > failure.attempt }
    }

    private func skips(_ run: Run, _ steps: [Step]) -> [Anomaly] {
        guard run.offset == nil else { return [] }
        let handedOut = Set(steps.lazy.map(\.offset))
        guard let first = handedOut.min(), let last = handedOut.max() else { return [] }
        return known(run.ownership.partition, in: first..<last).compactMap { position, message in
            guard !handedOut.contains(position.offset), run.key == nil || message.key == run.key else { return nil }
            return Anomaly(
                .pollSkip,
                position,
                "\(run.ownership): \(position) was not handed over between \(first) and \(last)"
            )
        }
    }
}
