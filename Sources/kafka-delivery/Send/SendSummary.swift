import ToolSupport

/// What is said at the end of a run.
struct SendSummary {
    let progress: Progress
    let elapsed: Duration
    let state: SendJob.State
    let failedPath: String?

    /// Whether a signal kept something from being read.
    var wasInterrupted: Bool {
        if case .signal = state.stop { state.unread != nil } else { false }
    }

    var success: String {
        // Of a few messages the rate says how long the connection took.
        let hasRate = progress.confirmed >= 1000 && elapsed > .zero
        let rate = hasRate ? " (\(Int(Double(progress.confirmed) / elapsed.inSeconds).grouped)/s)" : ""
        let skipped = state.skipped > 0 ? "; \(count(state.skipped, "empty line")) left out" : ""
        return "\(count(progress.confirmed, "message")) confirmed in \(elapsed.short)\(rate)\(skipped)"
    }

    /// nil where there was none.
    var failure: String? {
        let isWhole = progress.failed == 0 && state.unread == nil
        guard !isWhole || state.reportingError != nil else { return nil }
        var sentences = [success]
        if progress.failed > 0 { sentences.append(contentsOf: failedLines) }
        if let unread = state.unread { sentences.append(sentence(unread)) }
        if let error = state.reportingError { sentences.append("the reports could not be written: \(error.text)") }
        return sentences.joined(separator: "\n")
    }

    private var failedLines: [String] {
        let number = progress.failed
        var first = "\(count(number, "message")) \(number == 1 ? "was" : "were") not confirmed"
        let stored = state.tally.possiblyStored
        if stored > 0 {
            first += stored == number ? ", and" : "; \(stored.grouped) of them"
            first += " may be stored all the same"
        }
        let kept =
            switch (failedPath, state.keepingError) {
            case (nil, _): "--failed FILE would have kept them"
            case (let path?, nil): "they are in \(path)"
            case (let path?, let error?): "not all of them are in \(path): \(error.text)"
            }
        return ["\(first):"] + state.tally.lines + [kept]
    }

    private func sentence(_ unread: (what: String, files: Int)) -> String {
        let why: String
        switch state.stop {
        case .signal: why = "interrupted"
        case .hopeless: why = "stopped, because everything else would fail as well"
        case .input(let reason): why = reason
        case nil: why = "stopped"
        }
        let files = unread.files > 0 ? " and \(count(unread.files, "file")) after it" : ""
        return "\(why); not sent: \(unread.what)\(files)"
    }
}
