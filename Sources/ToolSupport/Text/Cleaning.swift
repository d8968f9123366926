extension StringProtocol {
    /// Without the given character at both ends.
    package func trimming(_ character: Character) -> String {
        String(drop { $0 == character }.reversed().drop { $0 == character }.reversed())
    }
}

extension String {
    /// What came with a message may say anything, also to a terminal: control characters become spaces.
    package var withoutControls: String {
        String(String.UnicodeScalarView(unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
    }
}
