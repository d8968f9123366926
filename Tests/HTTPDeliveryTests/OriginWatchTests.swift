#if HTTP
    import Testing

    @testable import OutboxHTTP

    struct OriginWatchTests {
        private let start = ContinuousClock.now
        private let watch = OriginWatch()

        private func fail(_ origin: String, times: Int = 1, after: Duration = .zero, retryAfter: Duration? = nil) {
            for _ in 0..<times {
                watch.note(origin, isThere: false, retryAfter: retryAfter, at: start.advanced(by: after))
            }
        }

        private func wait(_ origin: String, after: Duration = .zero) -> Duration? {
            watch.wait(origin, at: start.advanced(by: after))
        }

        @Test func aServerWithoutAUsableAnswerThreeTimesInARowIsAskedLaterByOneRequest() {
            fail("x", times: 2)
            #expect(wait("x") == nil)
            fail("x")
            #expect(wait("x") == .milliseconds(100) && wait("y") == nil)
            // What was under way with it changes nothing.
            fail("x", times: 20)
            #expect(wait("x", after: .milliseconds(99)) == .milliseconds(1))
            #expect(wait("x", after: .milliseconds(100)) == nil)
            #expect(wait("x", after: .milliseconds(100)) != nil)
            fail("x", after: .milliseconds(100))
            #expect(wait("x", after: .milliseconds(100)) == .milliseconds(200))
        }

        @Test func aServerThatAnswersAgainGetsAllItsRequests() {
            fail("x", times: 3)
            #expect(wait("x", after: .milliseconds(100)) == nil)
            watch.note("x", isThere: true, retryAfter: nil, at: start.advanced(by: .milliseconds(100)))
            for _ in 0..<3 { #expect(wait("x", after: .milliseconds(100)) == nil) }
            fail("x", times: 2)
            #expect(wait("x") == nil)
        }

        @Test func aRequestThatEndsUnsentLeavesFindingOutToTheNext() {
            fail("x", times: 3)
            #expect(wait("x", after: .milliseconds(100)) == nil)
            watch.release("x")
            #expect(wait("x", after: .milliseconds(100)) == nil)
            #expect(wait("x", after: .milliseconds(100)) != nil)
            // Nothing is forgotten: the next pause is the longer one.
            fail("x", after: .milliseconds(100))
            #expect(wait("x", after: .milliseconds(100)) == .milliseconds(200))
            watch.release("never seen")
            #expect(wait("never seen") == nil)
        }

        @Test func thePauseGrowsToHalfAMinuteAndFollowsRetryAfterAsFar() {
            var after = Duration.zero
            fail("x", times: 3)
            for _ in 0..<20 {
                after += .seconds(30)
                #expect(wait("x", after: after) == nil)
                fail("x", after: after)
            }
            #expect(wait("x", after: after) == .seconds(30))
            fail("y", times: 3, retryAfter: .seconds(2))
            #expect(wait("y") == .seconds(2))
            fail("z", times: 3, retryAfter: .seconds(3_600))
            #expect(wait("z") == .seconds(30))
        }

        @Test func whatIsKnownOfServersIsBounded() {
            for number in 0..<OriginWatch.maximum { fail("\(number)", times: 3) }
            fail("one more", times: 3)
            #expect(wait("one more") == nil)
            #expect(wait("7") == .milliseconds(100))
            // When the pauses of others are over there is a place again.
            fail("another", times: 3, after: .milliseconds(100))
            #expect(wait("another", after: .milliseconds(100)) == .milliseconds(100))
        }
    }
#endif
