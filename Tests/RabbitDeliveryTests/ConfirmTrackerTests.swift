import DeliveryCore
import Testing

@testable import RabbitDelivery

@Suite struct ConfirmTrackerTests {
    private var tracker = ConfirmTracker()

    init() {
        for index in 1...6 { tracker.add(Self.send("\(index)", Moment.now.advanced(by: .seconds(index)))) }
    }

    private static func send(_ body: String, _ deadline: Moment = .now) -> QueuedSend {
        QueuedSend(
            message: RabbitMessage(queue: "q", body: body),
            target: .slot(SendSlot()),
            accepted: .now,
            deadline: deadline
        )
    }

    private mutating func answer(_ sequence: UInt64, multiple: Bool = false, isAck: Bool = true) -> [String] {
        var resolved: [ConfirmTracker.Resolution] = []
        tracker.answer(sequence, multiple: multiple, isAck: isAck, &resolved)
        return resolved.map { resolution in
            let outcome =
                switch resolution.outcome {
                case .confirmed: "ack"
                case .nacked: "nack"
                case .returned: "returned"
                }
            return "\(resolution.send.message.text ?? "") \(outcome) as \(resolution.sequence)"
        }
    }

    @Test mutating func confirmsOutOfOrderAndManyAtATimeHaveOneOutcomeEach() {
        #expect(answer(3) == ["3 ack as 3"])
        #expect(answer(3) == [])
        #expect(answer(4, multiple: true) == ["1 ack as 1", "2 ack as 2", "4 ack as 4"])
        #expect(answer(6, isAck: false) == ["6 nack as 6"])
        #expect(answer(0, multiple: true) == ["5 ack as 5"])
        #expect(answer(99) == [])
        #expect(tracker.isEmpty)
        #expect(tracker.nextSequence == 7)
    }

    @Test mutating func aReturnHitsTheRightOneOfTwoIdenticalMessages() {
        // As RabbitMQ says it: the return, then the confirmation of others, then its own.
        tracker.noteReturn(4, code: 312, text: "NO_ROUTE")
        #expect(answer(1, multiple: true) == ["1 ack as 1"])
        #expect(answer(4) == ["4 returned as 4"])
        #expect(answer(6, multiple: true).count == 4)
    }

    @Test mutating func aMessageWhoseTimeIsOverIsFailedOnceAndItsLateConfirmationIgnored() {
        var late: [QueuedSend] = []
        tracker.expire(at: Moment.now.advanced(by: .milliseconds(2_500)), &late)
        #expect(late.map(\.message.text) == ["1", "2"])
        #expect(tracker.unanswered == 2)
        tracker.expire(at: Moment.now.advanced(by: .milliseconds(2_500)), &late)
        #expect(late.count == 2)
        #expect(answer(2) == [])
        #expect(tracker.unanswered == 1)
        #expect(answer(3, multiple: true) == ["3 ack as 3"])
        #expect(tracker.unanswered == 0)
    }

    @Test mutating func aLostChannelFailsWhatHasNoOutcomeAndCountsFromOneAgain() {
        _ = answer(2)
        #expect(tracker.removeAll().map(\.message.text) == ["1", "3", "4", "5", "6"])
        #expect(tracker.nextSequence == 1)
        #expect(answer(1) == [])
    }
}
