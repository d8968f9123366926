import ToolSupport

/// What the processes of a mode said, together.
struct ExperimentTold {
    private(set) var handled: [Int] = []
    private(set) var answers: [Int: ExperimentTally.Answer]
    private(set) var latencies: [Duration] = []
    private(set) var aborted = 0
    private(set) var cuts = 0
    private(set) var losses = 0
    private(set) var hasEnded = false
    /// How long processes worked, from their first message to the last thing that they said.
    private(set) var worked = Duration.zero
    /// How far the messages are done.
    private(set) var position = 0
    private var life: (begin: ContinuousClock.Instant, last: ContinuousClock.Instant)?

    /// - Parameters:
    ///   - count: How many messages there are.
    ///   - answer: What holds of a message as long as nothing was said of it.
    init(messages count: Int, answer: ExperimentTally.Answer) {
        answers = Dictionary(uniqueKeysWithValues: (0..<count).map { ($0, answer) })
    }

    mutating func take(_ line: ExperimentWorker.Line, at time: ContinuousClock.Instant = .now) {
        life?.last = time
        switch line {
        case .begin: life = (time, time)
        case .handled(let number):
            handled.append(number)
            position = number + 1
        case .acknowledged(let nanoseconds): latencies.append(.nanoseconds(nanoseconds))
        case .committed(let numbers, let nanoseconds):
            for number in numbers { answers[number] = .confirmed }
            latencies.append(.nanoseconds(nanoseconds))
            position = numbers.upperBound + 1
        case .aborted: aborted += 1
        case .unknown(let numbers): for number in numbers { answers[number] = .unknown }
        case .faults(let cuts, let losses):
            self.cuts += cuts
            self.losses += losses
        case .end: hasEnded = true
        }
    }

    /// A process has ended.
    mutating func endLife() {
        if let life { worked += life.begin.duration(to: life.last) }
        life = nil
    }
}
