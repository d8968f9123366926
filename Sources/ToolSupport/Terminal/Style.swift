internal import Foundation

/// Colours, where a person looks at them and did not ask for none (https://no-color.org).
package struct Style {
    package let isColoured: Bool

    package init(isColoured: Bool) {
        self.isColoured = isColoured
    }

    /// For what is printed on standard output.
    package static var standardOutput: Style {
        let isWanted = (Platform.environment("NO_COLOR") ?? "").isEmpty && Platform.environment("TERM") != "dumb"
        return Style(isColoured: isWanted && isatty(STDOUT_FILENO) == 1)
    }

    package func bold(_ text: String) -> String { wrap(text, "1") }
    package func dim(_ text: String) -> String { wrap(text, "2") }
    package func green(_ text: String) -> String { wrap(text, "32") }
    package func red(_ text: String) -> String { wrap(text, "31") }
    package func yellow(_ text: String) -> String { wrap(text, "33") }

    private func wrap(_ text: String, _ code: String) -> String {
        isColoured ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}
