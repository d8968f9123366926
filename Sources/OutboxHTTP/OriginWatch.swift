#if HTTP
    internal import Synchronization

    /// Which servers are away, where a destination has several: what goes to one that is away is answered at once, so that it keeps no
    /// place, and no batch, from what goes to others.
    final class OriginWatch: Sendable {
        typealias Instant = ContinuousClock.Instant

        private struct Trouble {
            /// In a row, without an answer that says that the server is there.
            var failures = 0
            /// Until when nothing is sent.
            var until: Instant?
            /// A request finds out whether it is there again.
            var isTrying = false
        }

        /// One request that hangs says nothing about a server; so many in a row do.
        static let tolerated = 3
        static let first = Duration.milliseconds(100)
        static let longest = Duration.seconds(30)

        /// How many are watched at a time. What is beyond is sent as if nothing was known.
        static let maximum = 10_000

        // Batches of several slots meet here. An origin with trouble is here until it answers again, or its place is needed.
        private let troubles = Mutex<[String: Trouble]>([:])

        /// Whether a request may be sent.
        ///
        /// - Returns: Nil where it may; else for how long not.
        func wait(_ origin: String, at now: Instant) -> Duration? {
            troubles.withLock { troubles in
                guard let trouble = troubles[origin], let until = trouble.until else { return nil }
                if until > now { return now.duration(to: until) }
                if trouble.isTrying { return Self.first }
                troubles[origin]?.isTrying = true
                return nil
            }
        }

        /// A request ended without being sent, or without being waited for: that says nothing, and if it was to find out, another one is to.
        func release(_ origin: String) {
            troubles.withLock { $0[origin]?.isTrying = false }
        }

        /// A request came to this.
        ///
        /// - Parameter isThere: Whether its answer says that the server works.
        func note(_ origin: String, isThere: Bool, retryAfter: Duration?, at now: Instant) {
            troubles.withLock { troubles in
                if isThere {
                    troubles[origin] = nil
                    return
                }
                if troubles[origin] == nil, troubles.count >= Self.maximum {
                    troubles = troubles.filter { entry in entry.value.until.map { $0 > now } ?? false }
                    if troubles.count >= Self.maximum { return }
                }
                var trouble = troubles[origin] ?? Trouble()
                // What was under way together fails together.
                if let until = trouble.until, until > now { return }
                trouble.isTrying = false
                trouble.failures = min(trouble.failures + 1, 62)
                if trouble.failures >= Self.tolerated {
                    var wait = Self.first
                    for _ in Self.tolerated..<trouble.failures where wait < Self.longest { wait *= 2 }
                    trouble.until = now.advanced(by: min(max(wait, retryAfter ?? .zero), Self.longest))
                }
                troubles[origin] = trouble
            }
        }
    }
#endif
