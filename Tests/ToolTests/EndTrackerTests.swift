import KafkaDelivery
import Testing

@testable import kafka_delivery

@Suite struct EndTrackerTests {
    private let first = KafkaTopicPartition(topic: "t", partition: 0)
    private let second = KafkaTopicPartition(topic: "t", partition: 1)

    @Test func theEndIsReachedWhenEveryPartitionIsAtItsEnd() {
        var tracker = EndTracker()
        #expect(tracker.finished == nil)
        tracker.assign([first, second], generation: 1)
        tracker.reachEnd(of: first, generation: 1)
        #expect(tracker.finished == nil)
        tracker.reachEnd(of: second, generation: 1)
        #expect(tracker.finished == [first, second])
    }

    @Test func anEndThatIsHeardOfBeforeTheAssignmentCounts() {
        var tracker = EndTracker()
        tracker.reachEnd(of: first, generation: 1)
        tracker.assign([first], generation: 1)
        #expect(tracker.finished == [first])
    }

    @Test func anEndOfAnEarlierGenerationDoesNotCount() {
        var tracker = EndTracker()
        tracker.assign([first], generation: 1)
        tracker.revoke([first])
        tracker.assign([first], generation: 2)
        tracker.reachEnd(of: first, generation: 1)
        #expect(tracker.finished == nil)
    }

    /// What it does not have others have, and whether that is read is another question.
    @Test func aMemberWithoutPartitionsHasReadAllOfThemOnceTheGroupGaveItNone() {
        var tracker = EndTracker()
        #expect(tracker.finished == nil)
        tracker.assign([], generation: 1)
        #expect(tracker.finished == [])
        tracker.assign([first], generation: 2)
        #expect(tracker.finished == nil)
        tracker.revoke([first])
        #expect(tracker.finished == [])
    }
}
