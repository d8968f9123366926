/// Where in the input something was.
package struct InputPlace: Hashable, Sendable, CustomStringConvertible {
    package let input: String
    /// From 1; nil where the whole file is one message.
    package let line: Int?

    package init(input: String, line: Int?) {
        self.input = input
        self.line = line
    }

    package var description: String {
        line.map { "line \($0.grouped) of \(input)" } ?? input
    }
}
