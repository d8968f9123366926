import BareLoop
import Foundation

/// Where the figures are from.
struct Machine: Codable, Sendable {
    var processor: String
    var cores: Int
    var memoryGiB: Int
    var system: String
    var librdkafka: String
    var cluster: String
    var date: String
    /// How many processes wanted a core, in the minute before.
    var load: Double
    var command: String

    init(cluster: String) {
        let information = ProcessInfo.processInfo
        processor = Self.line(of: "/proc/cpuinfo", beginningWith: "model name") ?? Self.architecture
        cores = information.activeProcessorCount
        memoryGiB = Int((Double(information.physicalMemory) / Double(1 << 30)).rounded())
        system =
            Self.line(of: "/etc/os-release", beginningWith: "PRETTY_NAME")?
            .trimmingCharacters(in: CharacterSet(charactersIn: "\"")) ?? information.operatingSystemVersionString
        librdkafka = String(cString: bare_librdkafka_version())
        self.cluster = cluster
        date = Date.now.formatted(.iso8601.year().month().day())
        var loads = [0.0, 0, 0]
        getloadavg(&loads, 3)
        load = loads[0]
        command = (["scripts/bench"] + CommandLine.arguments.dropFirst()).joined(separator: " ")
    }

    var sentence: String {
        "\(processor), \(cores) cores, \(memoryGiB) GiB, \(system); librdkafka \(librdkafka); \(cluster); \(date); "
            + "load before: \(String(format: "%.1f", load))"
    }

    private static func line(of file: String, beginningWith name: String) -> String? {
        guard let text = try? String(contentsOfFile: file, encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix(name) })
        else { return nil }
        return line.split(separator: line.contains(":") ? ":" : "=", maxSplits: 1).last?
            .trimmingCharacters(in: .whitespaces)
    }

    private static var architecture: String {
        #if arch(arm64)
            "arm64"
        #else
            "x86_64"
        #endif
    }
}
