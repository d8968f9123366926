internal import DeliverySystem
internal import Foundation

/// A process that was started or sent a signal, which it takes in its own time.
struct SignalledProcess {
    let identifier: pid_t

    /// Whether it has stopped, with all its threads: each stops by itself when it next runs.
    var hasStopped: Bool {
        get throws {
            guard kill(identifier, 0) == 0 else {
                throw RabbitServerFailure("RabbitMQ's process \(identifier) is gone")
            }
            #if os(Linux)
                let threads = "/proc/\(identifier)/task"
                return try FileManager.default.contentsOfDirectory(atPath: threads).allSatisfy { thread in
                    // One that ended in between answers nothing any more.
                    guard let line = try? String(contentsOfFile: "\(threads)/\(thread)/stat", encoding: .utf8) else {
                        return true
                    }
                    return Self.state(in: line).map { "TtZX".contains($0) } ?? false
                }
            #else
                var name: [Int32] = [CTL_KERN, KERN_PROC, KERN_PROC_PID, identifier]
                var process = kinfo_proc()
                var size = MemoryLayout<kinfo_proc>.size
                guard sysctl(&name, UInt32(name.count), &process, &size, nil, 0) == 0, size > 0 else {
                    throw RabbitServerFailure("RabbitMQ's process \(identifier) is gone")
                }
                return Int32(process.kp_proc.p_stat) == SSTOP
            #endif
        }
    }

    /// Whether it has ended, though its parent may not have asked for its status yet.
    var hasEnded: Bool {
        guard kill(identifier, 0) == 0 else { return true }
        #if os(Linux)
            let path = "/proc/\(identifier)/stat"
            guard let line = try? String(contentsOfFile: path, encoding: .utf8) else { return true }
            return Self.state(in: line).map { "ZX".contains($0) } ?? false
        #else
            var name: [Int32] = [CTL_KERN, KERN_PROC, KERN_PROC_PID, identifier]
            var process = kinfo_proc()
            var size = MemoryLayout<kinfo_proc>.size
            guard sysctl(&name, UInt32(name.count), &process, &size, nil, 0) == 0, size > 0 else { return true }
            return Int32(process.kp_proc.p_stat) == SZOMB
        #endif
    }

    /// The letter behind the name, which is in parentheses and may have some itself (`proc(5)`).
    private static func state(in line: String) -> Character? {
        guard let end = line.lastIndex(of: ")") else { return nil }
        return line[line.index(after: end)...].first { $0 != " " }
    }
}
