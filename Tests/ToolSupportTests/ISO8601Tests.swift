import Testing

@testable import ToolSupport

@Suite struct ISO8601Tests {
    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_763_867_655_926, "2025-11-23T03:14:15.926Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] as [(Int64, String)]
    )
    func pointsInTimeAreWrittenAndReadAlike(milliseconds: Int64, text: String) {
        #expect(ISO8601.text(millisecondsSince1970: milliseconds) == text)
        #expect(ISO8601.milliseconds(text) == milliseconds)
    }

    @Test(arguments: [Int64.min, .max])
    func anyNumberOfMillisecondsCanBeWritten(milliseconds: Int64) {
        #expect(!ISO8601.text(millisecondsSince1970: milliseconds).isEmpty)
    }

    @Test(
        arguments: [
            ("1970-01-02", 86_400_000), ("1970-01-01T01:00", 3_600_000), ("1970-01-01 00:00:01Z", 1000),
            ("1970-01-01T00:00:00.5", 500), ("1970-01-01T00:00:00,1239Z", 123), ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T19:00:00-0500", 0), ("1970-01-01T00:30:00+01", -1_800_000), ("1970-01-01T00:00:60Z", 59_000),
        ] as [(String, Int64)]
    )
    func zonesFractionsAndShortFormsAreUnderstood(text: String, milliseconds: Int64) {
        #expect(ISO8601.milliseconds(text) == milliseconds)
    }

    @Test(
        arguments: [
            "", "yesterday", "2025", "2025-11", "2025-13-01", "2025-02-29", "2025-11-31", "2025-11-23T",
            "2025-11-23T24:00",
            "2025-11-23T03:60", "2025-11-23T03:14:61", "2025-11-23T03:14:15.", "2025-11-23T03:14:15Zx",
            "2025-11-23T03:14:15+", "2025-11-23T03:14:15+25:00", "２０２５-11-23", "-2025-11-23",
        ]
    )
    func whatIsNoPointInTimeIsRefused(text: String) {
        #expect(ISO8601.milliseconds(text) == nil)
    }
}
