import Testing

@testable import ToolSupport

@Suite struct ProgressTests {
    private let progress = Progress(bytesRead: 500, bytesInAll: 1000, confirmed: 12_345, failed: 6)

    @Test(arguments: [0, 1, 10, 20, 40, 60, 80, 200])
    func theStatusLineFitsTheTerminal(columns: Int) {
        #expect(progress.line(after: .seconds(75), rate: 1234.5, columns: columns).count <= max(columns - 1, 0))
    }

    @Test func aBarIsShownWhereTheEndIsKnown() {
        let line = progress.line(after: .seconds(75), rate: 1234.5, columns: 100)
        #expect(line == " 50% ━━━━━━━━━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌  12,345 confirmed  6 failed  1,234/s  1:15")
        var endless = progress
        endless.bytesInAll = nil
        #expect(endless.line(after: .zero, rate: 0, columns: 100) == "12,345 confirmed  6 failed  0/s  0:00")
    }

    @Test func aFileThatGrewIsNotMoreThanWhole() {
        let progress = Progress(bytesRead: 5000, bytesInAll: 1000)
        #expect(progress.line(after: .zero, rate: 0, columns: 100).hasPrefix("100% "))
        #expect(!Progress(bytesRead: 0, bytesInAll: 0).line(after: .zero, rate: 0, columns: 100).contains("%"))
    }
}
