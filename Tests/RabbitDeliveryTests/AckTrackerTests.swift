import Testing

@testable import RabbitDelivery

@Suite struct AckTrackerTests {
    private var tracker = AckTracker()

    init() { for _ in 1...6 { tracker.add() } }

    @Test mutating func contiguousAcknowledgementsAreOneAnswerAndNoneCoversAnUnsettledOne() {
        for tag in [1, 2, 3, 5] as [UInt64] { #expect(tracker.acknowledge(tag) == true) }
        #expect(tracker.takeAnswers() == [.ack(tag: 3, multiple: true), .ack(tag: 5, multiple: false)])
        #expect(tracker.takeAnswers() == [])
        #expect(tracker.acknowledge(4) == true)
        // 5 has its answer already: the broker does not know it any more.
        #expect(tracker.takeAnswers() == [.ack(tag: 4, multiple: false)])
        #expect(tracker.unsettled == 1)
    }

    @Test mutating func whatWasRejectedIsNotAnsweredAgain() {
        #expect(tracker.reject(2, requeue: true) == true)
        #expect(tracker.acknowledge(2) == false)
        #expect(tracker.acknowledge(1) == true)
        #expect(tracker.takeAnswers() == [.nack(tag: 2, requeue: true), .ack(tag: 1, multiple: false)])
        #expect(tracker.reject(3, requeue: false) == true)
        #expect(tracker.takeAnswers() == [.nack(tag: 3, requeue: false)])
        for tag in [4, 5, 6] as [UInt64] { #expect(tracker.acknowledge(tag) == true) }
        #expect(tracker.takeAnswers() == [.ack(tag: 6, multiple: true)])
    }

    @Test mutating func aNumberThatIsNoneChangesNothing() {
        #expect(tracker.acknowledge(0) == false)
        #expect(tracker.acknowledge(7) == false)
        #expect(tracker.acknowledge(.max) == false)
        #expect(tracker.takeAnswers() == [])
    }

    /// Against a broker in a few lines: it knows which deliveries are open, and closes the channel at an answer to any other.
    @Test func randomVerdictsNeverAnswerTwiceNorForAnother() {
        let seed = UInt64.random(in: .min ... .max)
        var generator = SplitMix(seed: seed)
        var tracker = AckTracker()
        var open: Set<UInt64> = []
        var verdicts: Set<UInt64> = []
        for _ in 0..<5_000 {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0:
                open.insert(tracker.next)
                tracker.add()
            case 1, 2:
                guard let tag = open.randomElement(using: &generator) else { continue }
                let isFirst =
                    Int.random(in: 0..<5, using: &generator) == 0
                    ? tracker.reject(tag, requeue: false) : tracker.acknowledge(tag)
                #expect(isFirst == verdicts.insert(tag).inserted, "seed \(seed)")
            default:
                for answer in tracker.takeAnswers() {
                    switch answer {
                    case .ack(let tag, let multiple):
                        #expect(open.contains(tag), "seed \(seed)")
                        let covered = multiple ? open.filter { $0 <= tag } : [tag]
                        #expect(verdicts.isSuperset(of: covered), "seed \(seed)")
                        open.subtract(covered)
                    case .nack(let tag, _):
                        #expect(open.remove(tag) != nil, "seed \(seed)")
                        #expect(verdicts.contains(tag), "seed \(seed)")
                    default: Issue.record("\(answer)")
                    }
                }
                #expect(open.isDisjoint(with: verdicts), "seed \(seed)")
            }
        }
    }
}
