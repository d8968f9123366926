/// Points in time as ISO 8601 writes them, in the proleptic Gregorian calendar. Small enough to do without Foundation.
package enum ISO8601 {
    /// `2025-11-23T03:14:15.926Z`, from milliseconds since 1970-01-01T00:00:00Z.
    package static func text(millisecondsSince1970 milliseconds: Int64) -> String {
        let (day, rest) = floored(milliseconds, by: 86_400_000)
        let (year, month, dayOfMonth) = date(daysSince1970: day)
        let time = [rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60].map { padded($0, 2) }
        // Beyond four digits a year has a sign, as ISO 8601 wants it.
        let yearText = (0...9999).contains(year) ? padded(year, 4) : "\(year < 0 ? "-" : "+")\(padded(abs(year), 6))"
        return "\(yearText)-\(padded(month, 2))-\(padded(dayOfMonth, 2))"
            + "T\(time.joined(separator: ":")).\(padded(rest % 1000, 3))Z"
    }

    /// Milliseconds since 1970-01-01T00:00:00Z; nil where the text is no point in time.
    ///
    /// Takes a date alone (midnight), minutes, seconds or fractions of a second, and a zone: `Z`, `+01:00`; no zone
    /// means UTC.
    package static func milliseconds(_ text: some StringProtocol) -> Int64? {
        var scanner = Scanner(rest: Array(text.utf8)[...])
        guard let year = scanner.number(digits: 4), scanner.take("-"),
            let month = scanner.number(digits: 2), scanner.take("-"),
            let day = scanner.number(digits: 2),
            (1...12).contains(month), (1...daysIn(month: month, year: year)).contains(day)
        else { return nil }
        var result = days(year: year, month: month, day: day) * 86_400_000
        if scanner.rest.isEmpty { return result }

        guard scanner.take("T") || scanner.take("t") || scanner.take(" "),
            let hour = scanner.number(digits: 2), scanner.take(":"),
            let minute = scanner.number(digits: 2), hour < 24, minute < 60
        else { return nil }
        result += hour * 3_600_000 + minute * 60_000
        if scanner.take(":") {
            // 60 is a leap second, which Unix time does not know.
            guard let second = scanner.number(digits: 2), second <= 60 else { return nil }
            result += min(second, 59) * 1000
            if scanner.take(".") || scanner.take(",") {
                guard let fraction = scanner.milliseconds() else { return nil }
                result += fraction
            }
        }
        guard let offset = scanner.zone(), scanner.rest.isEmpty else { return nil }
        return result - offset * 60_000
    }

    private struct Scanner {
        var rest: ArraySlice<UInt8>

        mutating func take(_ character: Unicode.Scalar) -> Bool {
            guard rest.first == UInt8(ascii: character) else { return false }
            rest = rest.dropFirst()
            return true
        }

        mutating func number(digits: Int) -> Int64? {
            let prefix = rest.prefix(digits)
            guard prefix.count == digits, prefix.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
            rest = rest.dropFirst(digits)
            return prefix.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
        }

        /// The digits of a fraction of a second, of which three count.
        mutating func milliseconds() -> Int64? {
            let digits = rest.prefix { (0x30...0x39).contains($0) }
            guard !digits.isEmpty else { return nil }
            rest = rest.dropFirst(digits.count)
            let padded = Array(digits.prefix(3)) + Array(repeating: 0x30, count: max(3 - digits.count, 0))
            return padded.reduce(0) { $0 * 10 + Int64($1 - 0x30) }
        }

        /// Minutes east of Greenwich.
        mutating func zone() -> Int64? {
            if rest.isEmpty || take("Z") || take("z") { return 0 }
            let isWest = take("-")
            guard isWest || take("+"), let hours = number(digits: 2), hours < 24 else { return nil }
            _ = take(":")
            let minutes = rest.isEmpty ? 0 : number(digits: 2)
            guard let minutes, minutes < 60 else { return nil }
            return (hours * 60 + minutes) * (isWest ? -1 : 1)
        }
    }

    private static func padded(_ number: Int64, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(digits - text.count, 0)) + text
    }

    private static func floored(_ number: Int64, by divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = number.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    private static func daysIn(month: Int64, year: Int64) -> Int64 {
        let next = month == 12 ? days(year: year + 1, month: 1, day: 1) : days(year: year, month: month + 1, day: 1)
        return next - days(year: year, month: month, day: 1)
    }

    // Howard Hinnant's `days_from_civil` and `civil_from_days`: years begin in March, so that the leap day comes last,
    // and are counted in eras of 400, which are all of the same length.

    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let (era, yearOfEra) = floored(month <= 2 ? year - 1 : year, by: 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    private static func date(daysSince1970 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, dayOfEra) = floored(days + 719_468, by: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shifted + 2) / 5 + 1)
    }
}
