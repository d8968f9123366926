internal import DeliverySystem

/// What this library asks of the system: each call stands here once, and no other file of it calls the system's library.
enum Platform {
    /// What a C callback answers that was called with nothing (`EINVAL`).
    static var invalidArgument: Int32 { EINVAL }

    /// The system's clock, as other machines say it (`CLOCK_REALTIME`).
    static var millisecondsSince1970: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Blocks the thread (`usleep`).
    static func sleep(milliseconds: UInt32) {
        usleep(milliseconds * 1_000)
    }

    /// A copy of bytes that C frees with `free`; nil where there is no memory.
    static func allocatedCopy(of bytes: [UInt8]) -> UnsafeMutableRawPointer? {
        bytes.withUnsafeBytes { bytes in
            guard let copy = malloc(bytes.count) else { return nil }
            copy.copyMemory(from: bytes.baseAddress ?? UnsafeRawPointer(copy), byteCount: bytes.count)
            return copy
        }
    }
}

/// A regular expression as librdkafka takes it in a subscription: a POSIX extended one (`regcomp`). The owner of what C compiled.
final class PosixExpression {
    /// Why a text is no regular expression.
    struct Fault: Error {
        let reason: String
    }

    private var expression: regex_t

    init(_ pattern: String) throws(Fault) {
        var compiled = regex_t()
        let code = regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB)
        guard code == 0 else {
            var text = [CChar](repeating: 0, count: 256)
            regerror(code, &compiled, &text, text.count)
            throw Fault(reason: String(nullTerminated: text))
        }
        expression = compiled
    }

    func matches(_ text: String) -> Bool {
        regexec(&expression, text, 0, nil, 0) == 0
    }

    deinit {
        regfree(&expression)
    }
}
