internal import DeliverySystem
package import Foundation
package import Synchronization

/// Another program, with its input and output as pipes: what the tool's experiment kills, and what tests start.
///
/// Not Foundation's `Process`: on Linux it writes past a buffer where the parent has more than about 1,300 open files,
/// which as many clusters and clients as run together in our tests do have, and it leaks what it starts a program with.
package final class ChildProcess: Sendable {
    /// How a program ended.
    package enum End: Equatable, Sendable {
        case exit(Int32)
        case signal(Int32)
    }

    package let identifier: pid_t
    package let input: FileHandle
    package let output: FileHandle

    // What `waitpid` said. A number whose program was waited for may belong to another one.
    private let status = Mutex<Int32?>(nil)
    /// Held from the making of the pipes to the start, so that no other program starts before they are marked; and while a
    /// mock broker's port is closed and bound anew, which librdkafka ends the process over where it fails: a program that
    /// starts has all files of this one until it runs, and so the port.
    /// Who starts a program by other means takes it, too.
    package static let starting = Mutex(())

    /// Starts a program.
    ///
    /// - Parameters:
    ///   - program: A path, or a name to be looked up in `PATH`.
    ///   - errors: The file that gets what it says about errors; nil says it where this process does.
    ///   - hasOwnGroup: Whether it does not get the signals that a terminal sends to this process, as for Ctrl-C.
    /// - Throws: ``Failure``.
    package init(
        _ program: String,
        _ arguments: [String],
        errors: String? = "/dev/null",
        hasOwnGroup: Bool = false
    ) throws {
        (identifier, input, output) = try Self.starting.withLock { _ in
            try Self.start(program, arguments, errors, hasOwnGroup)
        }
    }

    private static func start(
        _ program: String,
        _ arguments: [String],
        _ errors: String?,
        _ hasOwnGroup: Bool
    ) throws -> sending (pid_t, FileHandle, FileHandle) {
        let (inputRead, inputWrite) = try Self.pipe()
        let (outputRead, outputWrite) = try Self.pipe()
        // From here on the parent's ends are closed with their handles.
        let input = FileHandle(fileDescriptor: inputWrite, closeOnDealloc: true)
        let output = FileHandle(fileDescriptor: outputRead, closeOnDealloc: true)
        defer {
            close(inputRead)
            close(outputWrite)
        }
        #if canImport(Darwin)
            var actions: posix_spawn_file_actions_t?
            var attributes: posix_spawnattr_t?
        #else
            var actions = posix_spawn_file_actions_t()
            var attributes = posix_spawnattr_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, inputRead, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, outputWrite, STDOUT_FILENO)
        if let errors {
            posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, O_WRONLY | O_CREAT, 0o644)
        }
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Threads of Swift's pool block signals, and a program inherits that: a shell would not hear of its children's end.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        var flags = (hasOwnGroup ? POSIX_SPAWN_SETPGROUP : 0) | POSIX_SPAWN_SETSIGMASK
        // Nothing but the three: mock brokers do not mark their connections, and what is marked is closed only some time after
        // the start has returned.
        #if canImport(Darwin)
            flags |= POSIX_SPAWN_CLOEXEC_DEFAULT
        #else
            _ = Self.closeFrom?(&actions, STDERR_FILENO + 1)
        #endif
        posix_spawnattr_setflags(&attributes, Int16(flags))

        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var identifier: pid_t = 0
        let status = posix_spawnp(&identifier, program, &actions, &attributes, &words, environ)
        guard status == 0 else { throw Failure(description: "\(program) did not start: \(Self.text(status))") }
        return (identifier, input, output)
    }

    #if !canImport(Darwin)
        private typealias CloseFrom = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32

        /// `posix_spawn_file_actions_addclosefrom_np`, which glibc has since 2.34 and does not show to Swift.
        private static let closeFrom: CloseFrom? = SystemFunction.named("posix_spawn_file_actions_addclosefrom_np")
            .map { unsafeBitCast($0, to: CloseFrom.self) }
    #endif

    /// Why a program was not started.
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    /// Waits until the program has ended, and returns its status as `waitpid` gives it. Blocks.
    @discardableResult
    package func wait() -> Int32 {
        // Waited for without taking note first, so that a task that sends a signal does not have to wait.
        var information = siginfo_t()
        while waitid(P_PID, id_t(identifier), &information, WEXITED | WNOWAIT) == -1, errno == EINTR {}
        return status.withLock { known in
            if let known { return known }
            var status: Int32 = 0
            while waitpid(identifier, &status, 0) == -1, errno == EINTR {}
            known = status
            return status
        }
    }

    /// Waits until the program has ended.
    package func end() async -> End {
        let status = await withCheckedContinuation { continuation in
            Thread.detachNewThread { continuation.resume(returning: self.wait()) }
        }
        let signal = status & 0x7F
        return signal == 0 ? .exit(status >> 8 & 0xFF) : .signal(signal)
    }

    /// Sends the program a signal, unless it was waited for and is gone.
    package func send(signal: Int32) {
        status.withLock { status in
            if status == nil { kill(identifier, signal) }
        }
    }

    /// What the program has written, as soon as there is anything, at most what a pipe holds; empty at the end. Blocks.
    ///
    /// Not `read(upToCount:)`, which waits for as much as it may read.
    package func nextOutput() -> Data {
        output.availableData
    }

    /// What the program writes, line by line, until it ends; a line that it did not finish is left out. To be called once.
    package func lines() -> AsyncStream<String> {
        let (stream, continuation) = AsyncStream.makeStream(of: String.self)
        Thread.detachNewThread { [self] in
            var rest: [UInt8] = []
            while case let more = nextOutput(), !more.isEmpty {
                rest += more
                guard let end = rest.lastIndex(of: UInt8(ascii: "\n")) else { continue }
                for line in rest[..<end].split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
                    continuation.yield(String(decoding: line, as: UTF8.self))
                }
                rest.removeFirst(end + 1)
            }
            continuation.finish()
        }
        return stream
    }

    /// A pipe that other programs do not inherit, or its end would never come.
    private static func pipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        guard Foundation.pipe(&ends) == 0 else { throw Failure(description: "no pipe: \(text(errno))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    private static func text(_ error: Int32) -> String {
        String(cString: strerror(error))
    }
}
