internal import CRdKafka
internal import Logging
internal import Synchronization

/// Reads from a consumer's log what librdkafka does not say in any other way: where it stands in its group
/// (``GroupMembership``), and which partitions it has reset to another offset (``OffsetResets``).
///
/// With a cooperative assignment a member keeps its partitions while it joins the group's next generation, and the
/// application is told of it only afterwards. A commit that is sent in that time arrives with the old generation and
/// is refused, for which librdkafka before 2.10.0 gives up the whole assignment: what was acknowledged and not yet
/// committed is delivered again. So the library commits before or after.
///
/// A member that is told to leave before its join is answered, or while the coordinator is not connected, does so without a
/// word to the group (`rd_kafka_cgrp_unsubscribe` of 2.0.2 to 2.16 leaves where there is a member id, `rd_kafka_cgrp_leave`
/// sends where the state is `up`), and the others wait until its session has run out. So the library waits with leaving.
///
/// The log arrives through a callback and not as events, because there would be an event for each heartbeat, and an idle
/// consumer would wake up for it. Lines that are for the application are kept for the consumer's thread, which hands
/// them on: a logger may do anything, for instance send its lines with a client of this library, and must not do that
/// on a thread of librdkafka's that may hold any of its locks.
final class GroupLog: Sendable {
    struct Line {
        let severity: Int32
        let facility: String
        let text: String
    }

    private struct State {
        var lines: [Line] = []
        var dropped = 0
        var membership = GroupMembership()
        /// Where the thread waits that takes the lines. Unsafe because an OpaquePointer is not Sendable; a queue may be used
        /// from any thread, and the pointer is read and set under the lock alone.
        nonisolated(unsafe) var queue: OpaquePointer?
    }

    /// Where the brokers did not have what was asked for.
    let resets = OffsetResets()

    /// What has to be in `debug` for the lines about the group to be there.
    static let context = "cgrp"

    private static let maximumLines = 1_000

    /// Whether the application asked for debugging lines itself.
    private let keepsDebugging: Bool
    // Lines come from any of librdkafka's threads. Held while the queue is woken, so that it is not destroyed meanwhile.
    private let state = Mutex(State())

    init(keepsDebugging: Bool) {
        self.keepsDebugging = keepsDebugging
    }

    /// Where the member stands.
    var membership: GroupMembership { state.withLock { $0.membership } }

    /// A line of librdkafka's log, on one of its threads.
    func note(severity: Int32, facility: String, text: String) {
        let isReset = facility == OffsetResets.facility && severity < 7 && resets.note(text)
        state.withLock { state in
            let before = state.membership
            let isOfGroup = state.membership.note(facility, text)
            // The consumer's thread may wait for the end of it.
            let isAwaited = isOfGroup && state.membership.hasComeOn(since: before)
            var isNews = isReset || isAwaited
            if severity < 7 || keepsDebugging {
                if state.lines.count < Self.maximumLines {
                    state.lines.append(Line(severity: severity, facility: facility, text: text))
                } else {
                    state.dropped += 1
                }
                isNews = true
            }
            // As safe as what librdkafka does with a line that becomes an event: it puts it into this queue.
            if isNews, let queue = state.queue { rd_kafka_queue_yield(queue) }
        }
    }

    /// From now on a thread that waits in `queue` is woken where there are lines.
    func wake(_ queue: OpaquePointer?) {
        state.withLock { $0.queue = queue }
    }

    /// Hands on what there is.
    func write(to logger: Logger) {
        let (lines, dropped) = state.withLock { state in
            defer {
                state.lines = []
                state.dropped = 0
            }
            return (state.lines, state.dropped)
        }
        for line in lines { logger.log(librdkafka: line.text, line.facility, severity: line.severity) }
        if dropped > 0 {
            logger.warning("librdkafka's log was too fast, lines are missing", metadata: ["kafka_lines": "\(dropped)"])
        }
    }
}

extension Logger {
    /// Writes a line of librdkafka's log, at `warning` or lower: what the application has to know also arrives as an error,
    /// and much of what librdkafka warns about it then puts right by itself.
    func log(librdkafka text: String, _ facility: String, severity: Int32) {
        let level: Logger.Level =
            switch severity {
            case ...3: .warning
            case 4: .info
            case 5, 6: .debug
            default: .trace
            }
        log(level: level, "librdkafka", metadata: ["kafka_text": "\(text)", "kafka_facility": "\(facility)"])
    }
}
