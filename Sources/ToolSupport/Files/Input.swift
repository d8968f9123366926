internal import Dispatch
internal import Foundation
internal import Synchronization

/// Where messages come from: standard input or a file.
package enum InputName: Equatable, Sendable, CustomStringConvertible {
    case standardInput
    case file(String)

    /// As on a command line, where `-` is standard input.
    package init(argument: String) {
        self = argument == "-" ? .standardInput : .file(argument)
    }

    package var description: String {
        switch self {
        case .standardInput: "standard input"
        case .file(let path): path
        }
    }
}

/// An open file or standard input, read on a queue of its own, because a pipe or a terminal may have nothing for a long
/// time. ``stop()`` ends the wait.
package final class Input: Sendable {
    /// What there is to know of a file before it is read.
    package struct Facts: Equatable {
        /// Which file it is, whatever its name.
        package let device: UInt64
        package let node: UInt64
        /// How many bytes it has; nil where only reading will tell.
        package let size: Int?
    }

    private let descriptor: Int32
    private let isOwned: Bool
    private let bell: Bell
    private let queue = DispatchQueue(label: "tool.input")

    /// - Parameter bell: Ends the wait of a reader when it rings.
    package init(_ name: InputName, bell: Bell) throws(SystemError) {
        switch name {
        case .standardInput:
            self.descriptor = STDIN_FILENO
            self.isOwned = false
        case .file(let path):
            self.descriptor = open(path, O_RDONLY | O_CLOEXEC)
            self.isOwned = true
            guard descriptor >= 0 else { throw .last }
        }
        self.bell = bell
    }

    deinit {
        if isOwned { close(descriptor) }
    }

    /// The next bytes, at most `count`; none at the end of the file.
    ///
    /// - Throws: ``SystemError``, ``SystemError/stopped`` where the bell rang.
    package func read(_ count: Int) async throws(SystemError) -> [UInt8] {
        let result: Result<[UInt8], SystemError> = await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: self.readNow(count)) }
        }
        return try result.get()
    }

    private func readNow(_ count: Int) -> Result<[UInt8], SystemError> {
        while true {
            var polled = [
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: bell.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            let ready = systemPoll(&polled, polled.count)
            if ready < 0 {
                let error = SystemError.last
                if error.code == EINTR { continue }
                return .failure(error)
            }
            if polled[1].revents != 0 { return .failure(.stopped) }
            var error: SystemError?
            let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, taken in
                let result = systemRead(descriptor, buffer.baseAddress, count)
                if result < 0 { error = .last }
                taken = max(result, 0)
            }
            switch error?.code {
            case nil: return .success(bytes)
            case EINTR, EAGAIN: continue
            case let code?: return .failure(SystemError(code: code))
            }
        }
    }

    /// What there is to know before anything is read, and whether it can be read.
    package static func facts(of name: InputName) throws(SystemError) -> Facts {
        var status = stat()
        switch name {
        case .standardInput:
            guard fstat(STDIN_FILENO, &status) == 0 else { throw .last }
        case .file(let path):
            guard stat(path, &status) == 0, access(path, R_OK) == 0 else { throw .last }
            guard status.st_mode & S_IFMT != S_IFDIR else { throw SystemError(code: EISDIR) }
        }
        return Facts(status)
    }

    /// What there is to know of an open file.
    package static func facts(of descriptor: Int32) throws(SystemError) -> Facts {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .last }
        return Facts(status)
    }
}

extension Input.Facts {
    init(_ status: stat) {
        self.init(
            device: UInt64(truncatingIfNeeded: status.st_dev),
            node: UInt64(truncatingIfNeeded: status.st_ino),
            size: status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : nil
        )
    }

    /// Whether it is the same file, under whatever name. Two terminals or pipes may well be the same one.
    package func isSameRegularFile(as other: Input.Facts) -> Bool {
        size != nil && other.size != nil && device == other.device && node == other.node
    }
}
