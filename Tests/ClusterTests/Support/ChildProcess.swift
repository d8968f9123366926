import Foundation
import Synchronization

/// Another program, with its input and output as pipes.
///
/// Not Foundation's `Process`: on Linux it writes past a buffer where the parent has more than about 1,300 open files,
/// which as many clusters and clients as run here together do have.
final class ChildProcess: Sendable {
    let identifier: pid_t
    let input: FileHandle
    let output: FileHandle

    /// Held from the making of the pipes to the start, so that no other program starts before they are marked.
    private static let starting = Mutex(())

    /// Starts a program: a path, or a name to be looked up in `PATH`. What it says about errors goes to a file.
    init(_ program: String, _ arguments: [String], errors: String = "/dev/null") throws {
        (identifier, input, output) = try Self.starting.withLock { _ in try Self.start(program, arguments, errors) }
    }

    private static func start(
        _ program: String,
        _ arguments: [String],
        _ errors: String
    ) throws -> sending (pid_t, FileHandle, FileHandle) {
        let (inputRead, inputWrite) = try Self.pipe()
        let (outputRead, outputWrite) = try Self.pipe()
        defer {
            close(inputRead)
            close(outputWrite)
        }
        #if canImport(Darwin)
            var actions: posix_spawn_file_actions_t?
        #else
            var actions = posix_spawn_file_actions_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, inputRead, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, outputWrite, STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, O_WRONLY | O_CREAT, 0o644)

        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var identifier: pid_t = 0
        let status = posix_spawnp(&identifier, program, &actions, nil, &words, environ)
        let input = FileHandle(fileDescriptor: inputWrite, closeOnDealloc: true)
        let output = FileHandle(fileDescriptor: outputRead, closeOnDealloc: true)
        guard status == 0 else { throw TestFailure("\(program) did not start: \(String(cString: strerror(status)))") }
        return (identifier, input, output)
    }

    /// Waits until the program has ended, and returns its status as `waitpid` gives it. Blocks.
    func wait() -> Int32 {
        var status: Int32 = 0
        while waitpid(identifier, &status, 0) == -1, errno == EINTR {}
        return status
    }

    /// A pipe that other programs do not inherit, or its end would never come.
    private static func pipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        guard Foundation.pipe(&ends) == 0 else { throw TestFailure("no pipe: \(String(cString: strerror(errno)))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }
}
