import Foundation

/// One measurement.
struct Sample {
    /// Messages a second.
    let rate: Double
    /// Microseconds of the processor's time a message.
    let processor: Double

    init(_ count: Int, seconds: Double, processor: Double) {
        rate = Double(count) / seconds
        self.processor = processor * 1e6 / Double(count)
    }

    static func ofThisProcess(_ count: Int, _ body: () throws -> Void) throws -> Sample {
        let (began, before) = (ContinuousClock.now, processorTime())
        try body()
        return Sample(count, seconds: (ContinuousClock.now - began) / .seconds(1), processor: processorTime() - before)
    }

    static func ofThisProcess(_ count: Int, _ body: () async throws -> Void) async throws -> Sample {
        let (began, before) = (ContinuousClock.now, processorTime())
        try await body()
        return Sample(count, seconds: (ContinuousClock.now - began) / .seconds(1), processor: processorTime() - before)
    }

    /// What the process has used, in seconds.
    private static func processorTime() -> Double {
        var usage = rusage()
        #if canImport(Glibc)
            getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        #else
            getrusage(RUSAGE_SELF, &usage)
        #endif
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}
