/// The header `Retry-After` (RFC 9110, section 10.2.3): seconds, or an HTTP date in one of its three forms (section 5.6.7).
enum RetryAfter {
    /// How long to wait, bounded; nil where the value is neither.
    ///
    /// - Parameters:
    ///   - date: The answer's own `Date`, so that two clocks that differ do not matter.
    ///   - now: Seconds since 1970, where it has none.
    static func wait(_ value: String, date: String?, now: Int64, maximum: Duration) -> Duration? {
        let bytes = value.utf8.drop { $0 == 0x20 || $0 == 0x09 }
        let digits = bytes.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
        if !digits.isEmpty, bytes[digits.endIndex...].allSatisfy({ $0 == 0x20 || $0 == 0x09 }) {
            // More seconds than fit are more than the maximum.
            guard let seconds = Int64(String(decoding: digits, as: UTF8.self)) else { return maximum }
            return min(.seconds(seconds), maximum)
        }
        guard let until = seconds(value) else { return nil }
        let from = date.flatMap(seconds) ?? now
        return min(.seconds(max(until - from, 0)), maximum)
    }

    private static let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

    /// An HTTP date in seconds since 1970: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
    /// `Sun Nov  6 08:49:37 1994`.
    static func seconds(_ date: String) -> Int64? {
        guard date.utf8.count <= 40 else { return nil }
        var words = date.split(whereSeparator: { " ,-:".contains($0) }).map(String.init)
        if words.count == 7 {
            // asctime has the month before the day, and the year at the end.
            words = [words[0], words[2], words[1], words[6], words[3], words[4], words[5], "GMT"]
        }
        guard words.count == 8, words[7] == "GMT", let month = months.firstIndex(of: words[2].lowercased()),
            let day = number(words[1], 1...31), var year = number(words[3], 0...9_999),
            let hour = number(words[4], 0...23),
            let minute = number(words[5], 0...59), let second = number(words[6], 0...60)
        else { return nil }
        if words[3].count == 2 { year += year < 70 ? 2_000 : 1_900 }
        return days(year, Int64(month) + 1, day) * 86_400 + hour * 3_600 + minute * 60 + second
    }

    private static func number(_ text: String, _ range: ClosedRange<Int64>) -> Int64? {
        guard text.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }), let number = Int64(text),
            range.contains(number)
        else { return nil }
        return number
    }

    /// Days since 1970-01-01 in the Gregorian calendar, for the years 0 to 9999.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        // Years that begin in March have the leap day at their end.
        let shifted = month > 2 ? year : year - 1
        let sinceMarch = (month + 9) % 12
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * sinceMarch + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}
