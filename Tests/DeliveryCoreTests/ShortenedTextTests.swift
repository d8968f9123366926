import Testing

@testable import DeliveryCore

/// A text for a header is cut by bytes, whatever its characters are made of.
struct ShortenedTextTests {
    static let family = "👨‍👩‍👧‍👦"

    // The marks are one character.
    @Test(arguments: [
        ("क्षि", 1_000), (family, 500), ("\u{301}", 10_000), ("ä", 5_000), ("\r\n", 5_000), ("a", 5_000),
    ])
    func aTextIsItsBeginningWithinTheBytes(part: String, count: Int) {
        let text = String(repeating: part, count: count)
        for limit in [3, 4, 5, 6, 7, 20, 255, 4_096] {
            let short = text.shortened(toBytes: limit)
            #expect(short.utf8.count <= limit)
            #expect(short.unicodeScalars.last == "…")
            let kept = String(short.unicodeScalars.dropLast())
            #expect(text.utf8.starts(with: kept.utf8))
            // No scalar of the usual size would have fitted besides.
            #expect(short.utf8.count > limit - 64)
        }
    }

    @Test func aTextIsCutBetweenCharactersWhereThatCostsLittle() {
        #expect("ab\(Self.family)c".shortened(toBytes: 20) == "ab…")
        #expect("xa\u{308}bcdef".shortened(toBytes: 6) == "x…")
        #expect("abcdef".shortened(toBytes: 5) == "ab…")
    }

    @Test func aTextThatFitsIsWhatItWas() {
        #expect("abc".shortened(toBytes: 3) == "abc")
        #expect(Self.family.shortened(toBytes: 25) == Self.family)
        #expect("".shortened(toBytes: 0) == "")
        #expect("abc".shortened(toBytes: 2) == "")
    }
}
