import Testing

@testable import rabbit_delivery

/// What `rabbit-delivery receive` says of acknowledgements that the broker may not have.
@Suite struct AcknowledgementDoubtTests {
    private func sentence(_ acknowledged: Int, late: Int, reachedBroker: Bool) -> String? {
        AcknowledgementDoubt(acknowledged: acknowledged, late: late, reachedBroker: reachedBroker).sentence
    }

    @Test func whatTheBrokerMayNotHaveIsSaidSo() {
        #expect(sentence(10, late: 0, reachedBroker: false)?.contains("has not said") == true)
        #expect(sentence(10, late: 1, reachedBroker: true)?.hasPrefix("1 message could not be acknowledged") == true)
        #expect(sentence(10, late: 2, reachedBroker: false)?.hasPrefix("2 messages could not be") == true)
    }

    @Test func whereItHasAllOrThereIsNothingToHaveNothingIsSaid() {
        #expect(sentence(10, late: 0, reachedBroker: true) == nil)
        // There was never a connection.
        #expect(sentence(0, late: 0, reachedBroker: false) == nil)
    }
}
