internal import DeliveryCore

/// What a status means.
struct StatusRules: Sendable {
    let retriable: Set<Int>
    let maximumRetryAfter: Duration

    /// The error that an answer is; nil where it is a receipt.
    ///
    /// - Parameters:
    ///   - place: Where it comes from, for the reason.
    ///   - now: Seconds since 1970, for a `Retry-After` that is a date where the answer has no `Date` of its own.
    func error(for response: HTTPResponse, from place: String, now: Int64) -> HTTPDeliveryError? {
        let status = response.status
        switch status {
        case 200...299: return nil
        case _ where retriable.contains(status):
            let wait = response.header("Retry-After").flatMap { value in
                RetryAfter.wait(value, date: response.header("Date"), now: now, maximum: maximumRetryAfter)
            }
            return HTTPDeliveryError(
                .unavailable,
                persistence: Self.mayBeCarriedOut(status) ? .possiblyPersisted : .notPersisted,
                recovery: .retry,
                reason: "\(place) answered \(status)",
                response: response,
                retryAfter: wait
            )
        default:
            return HTTPDeliveryError(
                status == 404 || status == 410 ? .unroutable : .rejected,
                persistence: Self.mayBeCarriedOut(status) ? .possiblyPersisted : .notPersisted,
                recovery: .fixRequest,
                reason: "\(place) answered \(status)"
                    + ((300...399).contains(status) ? "; redirects are not followed" : ""),
                response: response
            )
        }
    }

    /// Whether a server may answer this although the change was made.
    ///
    /// What failed inside may have done so after it, and a gateway knows no more of the server behind it: it answers 503 as well where that
    /// ended after the request. But a server that does not know the method (501) or the version of HTTP (505) has done nothing (RFC 9110,
    /// section 15.6).
    static func mayBeCarriedOut(_ status: Int) -> Bool {
        (500...599).contains(status) && status != 501 && status != 505
    }
}
