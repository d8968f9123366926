import BareLoop

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// What one worker measured in one round.
struct Sample: Codable, Sendable {
    var messages: Int
    var seconds: Double
    /// User and system time of the worker's process, without the brokers'.
    var processorSeconds: Double
    var latency: Percentiles?
    /// The longest time between the end of one message's handling and the beginning of the next.
    var longestGap: Double?
    /// How many of the same pieces of work are done in a second where no Kafka is.
    var idealRate: Double?
    /// The process's resident memory at its highest, in bytes.
    var peakMemory = 0
    /// Blocks of memory asked for, where they were counted.
    var allocations: Int?
    /// The resident memory as the round went on, in bytes.
    var memory: [Int] = []

    var rate: Double { Double(messages) / seconds }
    /// Microseconds a message.
    var processor: Double { processorSeconds * 1e6 / Double(messages) }
}

/// Seconds.
struct Percentiles: Codable, Sendable {
    var p50: Double
    var p99: Double
    var p999: Double

    /// Nil where there are none.
    init?(nanoseconds: [Int64]) {
        guard !nanoseconds.isEmpty else { return nil }
        let sorted = nanoseconds.sorted()
        func at(_ part: Double) -> Double {
            Double(sorted[min(sorted.count - 1, Int(part * Double(sorted.count)))]) / 1e9
        }
        self.p50 = at(0.5)
        self.p99 = at(0.99)
        self.p999 = at(0.999)
    }
}

/// A stop-watch for time and processor time.
struct Meter: Sendable {
    private let time = bare_now()
    private let processor = Meter.processorSeconds

    /// What it took since the meter was made.
    func sample(messages: Int) -> Sample {
        Sample(
            messages: messages,
            seconds: Double(bare_now() - time) / 1e9,
            processorSeconds: Self.processorSeconds - processor
        )
    }

    private static var processorSeconds: Double { Double(bare_processor_time()) / 1e9 }
}

/// The process's resident memory.
enum Memory {
    /// Bytes just now. 0 where the system does not say.
    static var resident: Int { read("VmRSS:") ?? 0 }

    /// Bytes at the highest.
    static var peak: Int {
        // Where the system says it: what getrusage says begins with what the process was started from.
        read("VmHWM:") ?? Int(bare_peak_memory())
    }

    private static func read(_ name: String) -> Int? {
        guard let file = fopen("/proc/self/status", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard text.hasPrefix(name) else { continue }
            return text.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }.map { $0 << 10 }
        }
        return nil
    }
}
