import Testing

@testable import ToolSupport

@Suite struct NumberTests {
    @Test func numbersAreWrittenForPeople() {
        #expect(1_234_567.grouped == "1,234,567")
        #expect((-1234).grouped == "-1,234")
        #expect(999.grouped == "999")
        #expect(Int.min.grouped == "-9,223,372,036,854,775,808")
        #expect(Duration.microseconds(420).short == "0.42 ms")
        #expect(Duration.milliseconds(12).short == "12 ms")
        #expect(Duration.milliseconds(3140).short == "3.1 s")
        #expect((-0.5).rounded(digits: 1) == "-0.5")
        #expect(7.05.rounded(digits: 1) == "7.0" || 7.05.rounded(digits: 1) == "7.1")
    }

    @Test func percentilesAreValuesThatOccurred() {
        let times = Percentiles((1...100).shuffled().map { .milliseconds($0) })
        #expect(times[50] == .milliseconds(50))
        #expect(times[99] == .milliseconds(99))
        #expect(times[0] == .milliseconds(1))
        #expect(Percentiles([])[50] == nil)
        #expect(Percentiles([.seconds(1)])[99] == .seconds(1))
    }
}
