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
        let rate = elapsed > .zero ? Double(progress.confirmed) / elapsed.inSeconds : 0
        let skipped = state.skipped > 0 ? "; \(count(state.skipped, "empty line")) left out" : ""
        return "\(count(progress.confirmed, "message")) confirmed in \(elapsed.short) "
            + "(\(Int(rate).grouped)/s)\(skipped)"
    }

    /// nil where there was none.
    var failure: String? {
        guard progress.failed > 0 || state.unread != nil || !state.complaints.isEmpty else { return nil }
        var sentences = [success]
        if progress.failed > 0 { sentences.append(contentsOf: failedLines) }
        if let unread = state.unread { sentences.append(sentence(unread)) }
        sentences.append(contentsOf: state.complaints)
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
        let kept = failedPath.map { "they are in \($0)" } ?? "--failed FILE would have kept them"
        return ["\(first):"] + state.tally.lines + [kept]
    }

    private func sentence(_ unread: (place: String, files: Int)) -> String {
        let why: String
        switch state.stop {
        case .signal: why = "interrupted"
        case .hopeless: why = "stopped, because the rest would fail, too"
        case .input(let reason): why = reason
        case nil: why = "stopped"
        }
        let files = unread.files > 0 ? ", nor \(count(unread.files, "file")) after it" : ""
        return "\(why): \(unread.place) and what follows it was not sent\(files)"
    }
}
