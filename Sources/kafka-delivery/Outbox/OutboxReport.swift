import Foundation
import OutboxDelivery
import ToolSupport

/// An outbox's state as text and as JSON.
enum OutboxReport {
    private static func time(_ date: Date) -> String {
        // Rows may have any time. No year beyond 270,000 is told from another one.
        let milliseconds = min(max((date.timeIntervalSince1970 * 1_000).rounded(.down), -8.64e15), 8.64e15)
        return ISO8601.text(millisecondsSince1970: Int64(milliseconds))
    }

    private static func age(_ date: Date?, at now: Date) -> String {
        guard let date else { return "–" }
        return Duration.seconds(min(max(0, now.timeIntervalSince(date)), 1e15)).short
    }

    private static func table(_ columns: [TextTable.Column], _ rows: [[String]], _ width: Int?) -> [String] {
        let table = TextTable(columns: columns, rows: rows, terminalColumns: width)
        return [table.heading] + rows.map(table.line)
    }

    /// `0–3, 7` for 0, 1, 2, 3, 7.
    static func ranges(_ slots: [Int]) -> String {
        var parts: [ClosedRange<Int>] = []
        for slot in slots.sorted() {
            if let last = parts.last, last.upperBound + 1 == slot {
                parts[parts.count - 1] = last.lowerBound...slot
            } else {
                parts.append(slot...slot)
            }
        }
        let texts = parts.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)–\($0.upperBound)" }
        return texts.isEmpty ? "none" : texts.joined(separator: ", ")
    }

    static func text(_ status: OutboxStatus, columns: Int?) -> String {
        let waiting =
            status.backlog == 0
            ? "nothing is waiting"
            : "\(count(status.backlog, "event")) waiting, the oldest for \(age(status.oldest, at: status.readAt))"
        let parked =
            status.parkedCount == 0
            ? "nothing is parked" : "\(status.parkedCount.grouped) parked of \(count(status.parkedKeyCount, "key"))"
        var lines = ["\(waiting); \(parked)"]
        if !status.waiting.isEmpty {
            lines.append("")
            lines += table(
                [
                    .init("DESTINATION"), .init("WAITING", isRightAligned: true), .init("OLDEST", isRightAligned: true),
                    .init("TOPIC"),
                ],
                status.waiting.map {
                    [
                        $0.destination.withoutControls, $0.count.grouped, age($0.oldest, at: status.readAt),
                        $0.topic.withoutControls,
                    ]
                },
                columns
            )
        }
        lines.append("")
        if status.publishers.isEmpty {
            lines.append("nobody publishes")
        } else {
            lines += table(
                [
                    .init("SLOTS", isRightAligned: true), .init("SINCE", expendability: 0), .init("PUBLISHER"),
                    .init("WHICH"),
                ],
                status.publishers.map {
                    ["\($0.slots.count)", $0.since.map(time) ?? "–", $0.name.withoutControls, ranges($0.slots)]
                },
                columns
            )
        }
        return lines.joined(separator: "\n")
    }

    static func json(_ status: OutboxStatus) -> String {
        var json = JSONWriter()
        json.raw("{\"version\":\(status.schemaVersion),\"backlog\":\(status.backlog),\"oldest\":")
        json.text(status.oldest.map(time))
        json.raw(",\"parked\":\(status.parkedCount),\"parked_keys\":\(status.parkedKeyCount),\"waiting\":[")
        for (index, waiting) in status.waiting.enumerated() {
            json.raw(index == 0 ? "{" : ",{")
            json.raw("\"destination\":")
            json.string(waiting.destination)
            json.raw(",\"topic\":")
            json.string(waiting.topic)
            json.raw(",\"count\":\(waiting.count),\"oldest\":")
            json.text(waiting.oldest.map(time))
            json.raw("}")
        }
        json.raw("],\"publishers\":[")
        for (index, publisher) in status.publishers.enumerated() {
            json.raw(index == 0 ? "{\"name\":" : ",{\"name\":")
            json.string(publisher.name)
            json.raw(",\"slots\":[\(publisher.slots.map(String.init).joined(separator: ","))],\"since\":")
            json.text(publisher.since.map(time))
            json.raw("}")
        }
        json.raw("],\"read_at\":")
        json.string(time(status.readAt))
        json.raw("}")
        return String(decoding: json.bytes, as: UTF8.self)
    }

    /// As `--key` takes it, where it is not very long.
    private static func argument(_ key: [UInt8]) -> String {
        Escapes.argument(for: Array(key.prefix(200))) + (key.count > 200 ? "…" : "")
    }

    private static func key(_ event: OutboxEvent) -> String { event.message.key.map(argument) ?? "–" }

    /// What a person is shown who asks for parked events.
    ///
    /// - Parameters:
    ///   - events: One more than `limit` where there are more.
    ///   - key: The key that was asked for; nil for all.
    ///   - limit: How many are shown.
    static func parked(_ events: [OutboxParkedEvent], key: [UInt8]?, limit: Int, columns: Int?) -> String {
        if events.isEmpty, let key { return "nothing with the key \"\(argument(key))\" is parked" }
        let shown = text(Array(events.prefix(limit)), columns: columns)
        if events.count <= limit { return shown }
        return "\(shown)\nmore are parked than the \(limit.grouped) shown; --limit shows more"
    }

    static func text(_ events: [OutboxParkedEvent], columns: Int?) -> String {
        guard !events.isEmpty else { return "nothing is parked" }
        // Most outboxes have one destination, which then says nothing.
        let hasSeveral = Set(events.map(\.event.message.destination)).count > 1
        let rows = events.map { parked in
            ["\(parked.event.id.slot)/\(parked.event.id.number)", key(parked.event)]
                + (hasSeveral ? [parked.event.message.destination.withoutControls] : []) + [
                    parked.event.message.topic.withoutControls, "\(parked.attempts)", time(parked.parkedAt),
                    parked.action?.rawValue ?? "–", parked.reason.withoutControls,
                ]
        }
        let titles: [TextTable.Column] =
            [.init("EVENT"), .init("KEY")] + (hasSeveral ? [.init("DESTINATION", expendability: 1)] : []) + [
                .init("TOPIC", expendability: 1), .init("ATTEMPTS", isRightAligned: true),
                .init("PARKED", expendability: 0), .init("DECIDED"), .init("REASON"),
            ]
        return table(titles, rows, columns).joined(separator: "\n")
    }

    static func json(_ parked: OutboxParkedEvent) -> String {
        var json = JSONWriter()
        let message = parked.event.message
        json.raw("{\"event\":\"\(parked.event.id.slot)/\(parked.event.id.number)\",\"destination\":")
        json.string(message.destination)
        json.raw(",\"topic\":")
        json.string(message.topic)
        json.raw(",")
        json.field("key", bytes: message.key)
        json.raw(",")
        json.field("payload", bytes: message.payload)
        json.raw(",\"idempotency_key\":")
        json.string(message.idempotencyKey)
        json.raw(",\"created_at\":\"\(time(parked.event.createdAt))\",\"parked_at\":\"\(time(parked.parkedAt))\",")
        json.raw("\"attempts\":\(parked.attempts),\"reason\":")
        json.string(parked.reason)
        json.raw(",\"action\":")
        json.text(parked.action?.rawValue)
        json.raw("}")
        return String(decoding: json.bytes, as: UTF8.self)
    }
}
