import DeliveryCore
import Testing

@testable import HTTPDelivery

@Suite struct StatusTests {
    private let rules = StatusRules(
        retriable: Set([408, 425, 429] + Array(500...599)),
        maximumRetryAfter: .seconds(300)
    )

    private func error(_ status: Int, _ headers: [HTTPHeader] = []) throws -> HTTPDeliveryError? {
        rules.error(
            for: HTTPResponse(status: status, headers: headers),
            from: "http://h/…",
            now: 784_111_777
        )
    }

    @Test(arguments: [200, 201, 202, 204, 299]) func everySuccessIsAReceipt(status: Int) throws {
        #expect(try error(status) == nil)
    }

    @Test(arguments: [408, 425, 429, 500, 501, 502, 503, 504, 505, 520, 524, 599])
    func whatAServerCannotNowIsRetriable(status: Int) throws {
        let error = try #require(try error(status))
        #expect(error.kind == .unavailable)
        #expect(error.recovery == .retry)
        // A gateway's and an internal error can come after the change; a method or a version that is not known is not carried out.
        let isCertain = [408, 425, 429, 501, 505].contains(status)
        #expect(error.persistence == (isCertain ? .notPersisted : .possiblyPersisted))
    }

    @Test func anErrorSaysWhatToDoFirstAndWhetherTheRequestWasCarriedOutLast() throws {
        let error = try #require(try error(429))
        #expect(error.description.hasPrefix("Try again later: "))
        #expect(error.description.hasSuffix("The request was not carried out."))
        let internalError = try #require(try self.error(500))
        #expect(internalError.description.hasSuffix("The request may have been carried out."))
        #expect(
            HTTPDeliveryError.closed(.notPersisted, "x").description == "Closed: x. The request was not carried out."
        )
    }

    @Test(arguments: [404, 410]) func anAddressWithNothingThereIsUnroutable(status: Int) throws {
        let error = try #require(try error(status))
        #expect(error.kind == .unroutable)
        #expect(error.recovery == .fixRequest)
        #expect(error.persistence == .notPersisted)
    }

    @Test(arguments: [300, 301, 302, 307, 308, 400, 401, 403, 405, 409, 413, 422, 600, 999])
    func anyOtherAnswerIsARejection(status: Int) throws {
        let error = try #require(try error(status))
        #expect(error.kind == .rejected)
        #expect(error.recovery == .fixRequest)
        #expect(error.persistence == .notPersisted)
        #expect(error.response?.status == status)
    }

    @Test func anAnswerThatIsNotRetriedSaysAsWellWhetherTheRequestMayHaveBeenCarriedOut() throws {
        let none = StatusRules(retriable: [], maximumRetryAfter: .seconds(300))
        func persistence(_ status: Int) -> DeliveryPersistence? {
            none.error(for: HTTPResponse(status: status, headers: []), from: "http://h/…", now: 0)?.persistence
        }
        #expect(persistence(503) == .possiblyPersisted)
        #expect(persistence(505) == .notPersisted)
        #expect(persistence(429) == .notPersisted)
    }

    @Test func theServerSaysWhenToComeAgain() throws {
        #expect(try error(503, [HTTPHeader("retry-after", "7")])?.retryAfter == .seconds(7))
        #expect(try error(429, [HTTPHeader("Retry-After", "100000")])?.retryAfter == .seconds(300))
        #expect(try error(429, [HTTPHeader("Retry-After", "99999999999999999999999")])?.retryAfter == .seconds(300))
        #expect(try error(503, [HTTPHeader("Retry-After", "soon")])?.retryAfter == nil)
        #expect(try error(503)?.retryAfter == nil)
    }
}

@Suite struct RetryAfterTests {
    @Test(arguments: [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777), ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
        ("Sun Nov  6 08:49:37 1994", 784_111_777), ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 29 Feb 2024 23:59:60 GMT", 1_709_251_200),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799), ("Sat, 01 Mar 2025 00:00:00 GMT", 1_740_787_200),
    ])
    func anHTTPDateIsReadInEachOfItsForms(text: String, seconds: Int64) {
        #expect(RetryAfter.seconds(text) == seconds)
    }

    @Test(arguments: [
        "", "GMT", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "-1", "+5", "1.5", "1 2",
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT", String(repeating: "1 ", count: 1_000),
    ])
    func whatIsNeitherSecondsNorADateSaysNothing(text: String) {
        #expect(RetryAfter.wait(text, date: nil, now: 0, maximum: .seconds(300)) == nil)
    }

    @Test func aDateCountsFromTheServersOwnClock() {
        let date = "Sun, 06 Nov 1994 08:49:47 GMT"
        let answered = "Sun, 06 Nov 1994 08:49:37 GMT"
        #expect(RetryAfter.wait(date, date: answered, now: 0, maximum: .seconds(300)) == .seconds(10))
        #expect(RetryAfter.wait(date, date: nil, now: 784_111_780, maximum: .seconds(300)) == .seconds(7))
        #expect(RetryAfter.wait(answered, date: date, now: 0, maximum: .seconds(300)) == .zero)
        #expect(RetryAfter.wait(date, date: nil, now: 0, maximum: .seconds(300)) == .seconds(300))
        #expect(RetryAfter.wait(" 5 ", date: nil, now: 0, maximum: .seconds(300)) == .seconds(5))
    }
}

@Suite struct RequestTurnsTests {
    @Test func requestsOfAKeyTakeTurnsInTheOrderInWhichTheyCame() {
        var turns = RequestTurns(places: 8)
        let entries = [
            turns.enter(1, key: "a"), turns.enter(2, key: "a"), turns.enter(3, key: "b"), turns.enter(4, key: "a"),
        ]
        #expect(entries == [true, false, true, false])
        let left = [turns.leave("a"), turns.leave("b"), turns.leave("a"), turns.leave("a")]
        #expect(left == [[2], [], [4], []])
        #expect(turns.isIdle)
    }

    @Test func aKeyWithManyRequestsKeepsNoPlaceFromOthers() {
        var turns = RequestTurns(places: 1)
        _ = turns.enter(1, key: "a")
        _ = turns.enter(2, key: "a")
        _ = turns.enter(3, key: "b")
        _ = turns.enter(4, key: nil)
        let left = [turns.leave("a"), turns.leave("b"), turns.leave(nil), turns.leave("a")]
        #expect(left == [[3], [4], [2], []])
    }

    @Test func aRequestThatIsCancelledLeavesItsPlaceInTheQueueToTheNext() {
        var turns = RequestTurns(places: 1)
        _ = turns.enter(1, key: "a")
        _ = turns.enter(2, key: "b")
        _ = turns.enter(3, key: "b")
        _ = turns.enter(4, key: "b")
        let cancelled = [
            turns.cancel(2, key: "b"), turns.cancel(4, key: "b"), turns.cancel(1, key: "a"), turns.cancel(9, key: nil),
        ]
        #expect(cancelled == [true, true, false, false])
        let left = [turns.leave("a"), turns.leave("b")]
        #expect(left == [[3], []])
        #expect(turns.isIdle)
    }

    /// Whatever comes in whatever order: bounded, one of a key at a time, in order, and each request once.
    @Test(arguments: 1...20) func turnsHoldForAnyOrderOfEvents(seed: UInt64) {
        var random = SplitMix(seed)
        var turns = RequestTurns(places: 3)
        var running: [(id: UInt64, key: String?)] = []
        var waiting: [UInt64: String?] = [:]
        var last: [String: UInt64] = [:]
        func start(_ id: UInt64, _ key: String?) {
            if let key {
                #expect(!running.contains { $0.key == key })
                #expect(last[key, default: 0] < id)
                last[key] = id
            }
            running.append((id, key))
            #expect(running.count <= 3)
        }
        for id in 1...2_000 as ClosedRange<UInt64> {
            let key: String? = ["a", "b", "c", "d", nil][Int(random.next() % 5)]
            if turns.enter(id, key: key) { start(id, key) } else { waiting[id] = key }
            while random.next() % 3 == 0, let index = running.indices.randomElement(using: &random) {
                let done = running.remove(at: index)
                for next in turns.leave(done.key) { start(next, waiting.removeValue(forKey: next) ?? nil) }
            }
            if random.next() % 10 == 0, let (id, key) = waiting.min(by: { $0.key < $1.key }) {
                let wasWaiting = turns.cancel(id, key: key)
                #expect(wasWaiting)
                waiting[id] = nil
            }
        }
        while let done = running.popLast() {
            for next in turns.leave(done.key) { start(next, waiting.removeValue(forKey: next) ?? nil) }
        }
        #expect(waiting.isEmpty)
        #expect(turns.isIdle)
    }
}

struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
