extension String {
    /// The beginning of a text, with `…` where it is cut: at most so many bytes of UTF-8, and at least nothing.
    ///
    /// Cut between characters where one ends within the last bytes; else between scalars, for one character may have any number of them.
    package func shortened(toBytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        let mark = "…"
        guard limit >= mark.utf8.count else { return "" }
        var end = utf8.index(startIndex, offsetBy: limit - mark.utf8.count)
        while end > startIndex, utf8[end] & 0xC0 == 0x80 { end = utf8.index(before: end) }
        var character = end
        for _ in 0..<Self.longestUsualCharacter where character > startIndex {
            if Index(character, within: self) != nil { return self[..<character] + mark }
            character = utf8.index(before: character)
        }
        return self[..<end] + mark
    }

    /// In bytes; families of emoji have some 25, and a text may be one character as a whole.
    private static var longestUsualCharacter: Int { 64 }
}
