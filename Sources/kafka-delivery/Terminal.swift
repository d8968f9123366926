import Foundation
import Synchronization

/// Standard error, shared by sentences and a status line that is drawn over and over.
enum StandardError {
    // Sentences come from any task, the status line from a timer.
    private static let status = Mutex("")

    static let isTerminal = isatty(STDERR_FILENO) == 1

    /// A sentence under the tool's name.
    static func say(_ sentence: String) {
        write("kafka-delivery: \(sentence)\n")
    }

    /// Text as it is, with its line breaks. A status line gives way and comes back under it.
    static func write(_ text: String) {
        status.withLock { status in
            put(status.isEmpty ? text : "\r\u{1B}[K" + text + status)
        }
    }

    /// Draws the status line, in one write so that it does not flicker; an empty one takes it away.
    static func show(status line: String) {
        status.withLock { status in
            guard line != status else { return }
            status = line
            put("\r\u{1B}[K" + line)
        }
    }

    /// Nothing can be done, and nobody told, where standard error itself cannot be written.
    private static func put(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { systemWrite(STDERR_FILENO, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}

/// Standard output, for commands that print a few lines. What is written by the message goes through ``Output``.
enum StandardOutput {
    // Lines come from any task.
    private static let failure = Mutex<SystemError?>(nil)

    /// Prints a line, at once. Where that fails nothing more is printed, and ``check()`` says why.
    static func print(_ line: String) {
        failure.withLock { failure in
            if failure == nil { failure = Output.writeAll(Array("\(line)\n".utf8), to: STDOUT_FILENO) }
        }
    }

    /// - Throws: ``ToolFailure`` where something could not be printed; not where nobody wanted to read it any more.
    static func check() throws(ToolFailure) {
        guard let failure = failure.withLock({ $0 }), !failure.isBrokenPipe else { return }
        throw ToolFailure("standard output: \(failure.text)")
    }
}

/// `write`, which has many namesakes.
func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    write(descriptor, bytes, count)
}

/// `read`, which has many namesakes.
func systemRead(_ descriptor: Int32, _ bytes: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(descriptor, bytes, count)
}

/// Waits, for as long as it takes, until one of the descriptors is ready.
func systemPoll(_ descriptors: UnsafeMutablePointer<pollfd>, _ count: Int) -> Int32 {
    poll(descriptors, nfds_t(count), -1)
}

/// What surrounds the process.
enum Platform {
    static func environment(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    /// The tool as it was called, for commands that can be copied.
    static var program: String {
        let name = CommandLine.arguments.first ?? ""
        return name.contains("/") ? shortened(name) : "kafka-delivery"
    }

    /// A path as one would type it here.
    static func shortened(_ path: String) -> String {
        let here = FileManager.default.currentDirectoryPath + "/"
        return path.hasPrefix(here) ? String(path.dropFirst(here.count)) : path
    }

    /// How many columns the terminal behind standard error has.
    static var columns: Int { columns(of: STDERR_FILENO) ?? 80 }

    /// How many columns the terminal behind standard output has; nil where it is no terminal.
    static var outputColumns: Int? { columns(of: STDOUT_FILENO) }

    private static func columns(of descriptor: Int32) -> Int? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }
}

/// Colours, where a person looks at them and did not ask for none (https://no-color.org).
struct Style {
    let isColoured: Bool

    init(isColoured: Bool) {
        self.isColoured = isColoured
    }

    /// For what is printed on standard output.
    static var standardOutput: Style {
        let isWanted = (Platform.environment("NO_COLOR") ?? "").isEmpty && Platform.environment("TERM") != "dumb"
        return Style(isColoured: isWanted && isatty(STDOUT_FILENO) == 1)
    }

    func bold(_ text: String) -> String { wrap(text, "1") }
    func dim(_ text: String) -> String { wrap(text, "2") }
    func green(_ text: String) -> String { wrap(text, "32") }
    func red(_ text: String) -> String { wrap(text, "31") }
    func yellow(_ text: String) -> String { wrap(text, "33") }

    private func wrap(_ text: String, _ code: String) -> String {
        isColoured ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}

extension BinaryInteger {
    /// With the thousands set apart: `1,234,567`.
    var grouped: String {
        let digits = String(magnitude)
        var result = self < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { result.append(",") }
            result.append(digit)
        }
        return result
    }
}

/// `1 message`, `2 messages`.
func count(_ number: Int, _ noun: String, plural: String? = nil) -> String {
    "\(number.grouped) \(number == 1 ? noun : plural ?? noun + "s")"
}

extension Double {
    /// With so many digits after the point. Foundation's formatting is not needed for it.
    func rounded(digits: Int) -> String {
        guard isFinite, magnitude < 1e15 else { return "\(self)" }
        let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
        let scaled = Int64((self * scale).rounded())
        guard digits > 0 else { return "\(scaled)" }
        let fraction = String(scaled.magnitude % UInt64(scale))
        let padding = String(repeating: "0", count: digits - fraction.count)
        return "\(scaled < 0 ? "-" : "")\(scaled.magnitude / UInt64(scale)).\(padding)\(fraction)"
    }
}

extension Duration {
    var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }

    /// For a person: `0.42 ms`, `12 ms`, `3.1 s`.
    var short: String {
        let seconds = inSeconds
        if seconds < 0.01 { return "\((seconds * 1000).rounded(digits: 2)) ms" }
        if seconds < 1 { return "\((seconds * 1000).rounded(digits: 0)) ms" }
        return "\(seconds.rounded(digits: 1)) s"
    }
}
