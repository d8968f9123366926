internal import Foundation
internal import Synchronization

/// What surrounds the process.
package enum Platform {
    package static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    // Set once by the tool's root command, before any task of its own runs; read by any.
    private static let name = Mutex<String?>(nil)

    /// The tool's name, which stands before each of its sentences on standard error: the root command's, and before that has
    /// begun the name of the program's file.
    package static var toolName: String {
        get { name.withLock { $0 } ?? String(called.split(separator: "/").last ?? "tool") }
        set { name.withLock { $0 = newValue } }
    }

    /// The tool as it was called, for commands that can be copied.
    package static var program: String {
        called.contains("/") ? shortened(called) : toolName
    }

    private static var called: String { CommandLine.arguments.first ?? "" }

    /// A path as one would type it here.
    package static func shortened(_ path: String) -> String {
        let here = FileManager.default.currentDirectoryPath + "/"
        return path.hasPrefix(here) ? String(path.dropFirst(here.count)) : path
    }

    /// How many columns the terminal behind standard error has.
    package static var columns: Int { columns(of: STDERR_FILENO) ?? 80 }

    /// How many columns the terminal behind standard output has; nil where it is no terminal.
    package static var outputColumns: Int? { columns(of: STDOUT_FILENO) }

    private static func columns(of descriptor: Int32) -> Int? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }
}
