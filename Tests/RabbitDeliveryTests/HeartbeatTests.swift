import Testing

@testable import RabbitDelivery

@Suite struct HeartbeatTests {
    @Test func whileBytesWaitTheNextLookIsForSilenceAndNotForAHeartbeatThatIsOverdue() {
        let start = Moment.now
        var heartbeats = Heartbeats(seconds: 10, at: start)
        let later = start.advanced(by: .seconds(7))
        heartbeats.noteReceived(at: later)
        #expect(heartbeats.isDue(at: later))
        #expect(heartbeats.next(isWriting: false) == start.advanced(by: .seconds(5)))
        #expect(heartbeats.next(isWriting: true) == later.advanced(by: .seconds(20)))
        heartbeats.noteSent(at: later)
        #expect(!heartbeats.isDue(at: later))
        #expect(heartbeats.next(isWriting: false) == later.advanced(by: .seconds(5)))
    }

    @Test func silenceIsTwiceTheInterval() {
        let start = Moment.now
        let heartbeats = Heartbeats(seconds: 10, at: start)
        #expect(!heartbeats.isSilent(at: start.advanced(by: .milliseconds(19_999))))
        #expect(heartbeats.isSilent(at: start.advanced(by: .seconds(20))))
        #expect(Heartbeats(seconds: 0, at: start).next(isWriting: true) == nil)
    }
}
