import Testing

@testable import ToolSupport

@Suite struct TextTableTests {
    private let columns: [TextTable.Column] = [
        .init("message"), .init("attempts", isRightAligned: true, expendability: 0), .init("error"),
    ]

    @Test func columnsAreAsWideAsTheyNeedAndNumbersStandOnTheRight() {
        let table = TextTable(
            columns: columns,
            rows: [["a", "3", "no money"], ["abcdefghij", "12", ""]],
            terminalColumns: nil
        )
        #expect(table.heading == "message     attempts  error")
        #expect(table.line(["a", "3", "no money"]) == "a                  3  no money")
        #expect(table.line(["abcdefghij", "12", ""]) == "abcdefghij        12  ")
    }

    @Test func aNarrowTerminalLosesTheLeastImportantColumnFirstAndThenTheEndOfTheLast() {
        let row = ["orders", "3", "no money left for this"]
        let table = TextTable(columns: columns, rows: [row], terminalColumns: 30)
        #expect(table.heading == "message  error")
        #expect(table.line(row) == "orders   no money left for th…")
    }

    @Test func aRowOfTooFewOrTooManyCellsIsShownAsFarAsItGoes() {
        let table = TextTable(columns: columns, rows: [[], ["a", "b", "c", "d"]], terminalColumns: nil)
        #expect(table.line(["a"]) == "a                  ")
        #expect(table.line(["a", "b", "c", "d"]) == "a               b  c")
    }

    @Test(arguments: [0, 1, 10, 40])
    func noLineIsWiderThanTheTerminal(terminalColumns: Int) {
        let table = TextTable(columns: columns, rows: [], terminalColumns: terminalColumns)
        #expect(table.line(["a", "b", String(repeating: "c", count: 100)]).count <= max(terminalColumns, 1))
    }

    @Test func whatAMessageSaysCannotCommandTheTerminal() {
        #expect("a\u{1B}[2Jb\nc\u{9B}d\u{7F}".withoutControls == "a [2Jb c d ")
    }
}
