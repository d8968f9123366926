#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

/// How a person recognises a process.
enum ProcessName {
    static var current: String {
        let process = ProcessInfo.processInfo
        return "\(process.processName.prefix(100)), process \(process.processIdentifier)"
    }
}
