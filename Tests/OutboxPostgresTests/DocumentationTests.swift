import Foundation
import OutboxDelivery
import OutboxPostgres
import Testing

/// PostgreSQL reads each statement that the documentation shows, so that none of them rots. Other clients than this package's are not
/// compiled here, but what they would send is.
@Suite(.timeLimit(.minutes(5)))
struct DocumentationTests {
    private static let pages = [
        "README.md", "Sources/OutboxDelivery/Documentation.docc/OutboxDelivery.md",
        "Sources/OutboxKafka/Documentation.docc/OutboxKafka.md",
    ]

    private func text(_ page: String) throws -> String {
        let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        return try String(contentsOf: root.appendingPathComponent(page), encoding: .utf8)
    }

    /// The contents of the blocks of code in a language.
    private func blocks(_ language: String, in page: String) -> [String] {
        page.components(separatedBy: "```\(language)\n").dropFirst().map { $0.components(separatedBy: "\n```")[0] }
    }

    /// Swift's string literals, with `$1`, `$2`, … for what is put into them.
    private func literals(in code: String) -> [String] {
        var literals: [String] = []
        var rest = Substring(code)
        while let quote = rest.firstIndex(of: "\"") {
            let mark = rest[quote...].hasPrefix("\"\"\"") ? "\"\"\"" : "\""
            rest = rest[quote...].dropFirst(mark.count)
            var literal = ""
            var count = 0
            while !rest.isEmpty, !rest.hasPrefix(mark) {
                if rest.hasPrefix("\\(") {
                    count += 1
                    literal += "$\(count)"
                    rest = afterParenthesis(rest.dropFirst())
                } else {
                    literal.append(rest.removeFirst())
                }
            }
            rest = rest.dropFirst(mark.count)
            literals.append(literal.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        return literals
    }

    private func afterParenthesis(_ text: Substring) -> Substring {
        var depth = 0
        for index in text.indices {
            if text[index] == "(" { depth += 1 }
            if text[index] == ")" { depth -= 1 }
            if depth == 0 { return text[text.index(after: index)...] }
        }
        return ""
    }

    private func isStatement(_ text: String) -> Bool {
        ["INSERT ", "UPDATE ", "DELETE ", "SELECT ", "WITH "].contains { text.hasPrefix($0) } && !text.contains("…")
    }

    @Test func postgreSQLReadsEachStatementThatTheDocumentationShows() async throws {
        let test = try await TestOutbox.make()
        for table in ["orders (id text, state text)", "tasks (id text, title text, state text)"] {
            try await test.writer.query(OutboxStatement("CREATE TABLE \(table)"))
        }
        var count = 0
        for page in Self.pages {
            let text = try text(page)
            let shown =
                blocks("sql", in: text).flatMap { $0.components(separatedBy: ";\n") }
                + blocks("swift", in: text).flatMap(literals)
            for statement in shown.map({ $0.trimmingCharacters(in: .whitespacesAndNewlines) }) {
                // MySQL's own, of which no server is here.
                let isMySQL = statement.contains("`")
                guard isStatement(statement), !isMySQL else { continue }
                count += 1
                let complete = statement.hasSuffix(";") ? String(statement.dropLast()) : statement
                try await test.writer.query(OutboxStatement("PREPARE shown\(count) AS \(complete)"))
            }
        }
        // The package's own connection, one statement, Fluent, and by hand.
        #expect(count >= 4)
        await test.close()
    }
}
