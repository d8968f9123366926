internal import DeliveryTesting
internal import Foundation
internal import Synchronization

/// A PostgreSQL server for tests: its own, on a free port of the loopback interface, in a directory that goes away with it.
///
/// ```swift
/// @Test func anOrderIsStored() async throws {
///     let server = try await PostgresServer.start()
///     let connection = try await LibpqConnection.open(LibpqSettings(server.url))
///     …
///     await server.shutdown()
/// }
/// ```
///
/// It needs the server's programs (`apt-get install postgresql`, `brew install postgresql@17`), 12 or newer, and finds them on the
/// `PATH`, where Debian and Homebrew put them, or in the directory that `POSTGRES_BIN` names. PostgreSQL does not run as root: a
/// test that does starts it as the user `postgres`. Every user of this machine may connect as `postgres`, without a password. Nothing
/// is forced to disk unless told so. It ends with the test's process, also where that is killed.
public final class PostgresServer: Sendable {
    /// How to stop.
    public enum StopMode: String, Sendable {
        /// Sessions are ended, and everything is in order (`SIGINT`).
        case fast
        /// As in a crash: the next start recovers from the write-ahead log (`SIGQUIT`).
        case immediate
    }

    /// Why a server did not start.
    public struct Failure: Error, Hashable, CustomStringConvertible {
        /// What to do and what happened, for a person.
        public let description: String
    }

    /// The port on 127.0.0.1.
    public let port: Int

    private let programs: String
    private let directory: String
    private let settings: [String: String]
    private struct Running {
        var process: ChildProcess?
        var lines: Task<Void, Never>?
    }
    // Tests start and stop it from any task.
    private let running = Mutex(Running())

    private init(port: Int, programs: String, directory: String, settings: [String: String]) {
        self.port = port
        self.programs = programs
        self.directory = directory
        self.settings = settings
    }

    deinit {
        // The shell around the server sees the end of its input, stops it and deletes the directory.
        running.withLock { try? $0.process?.input.close() }
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`.
    public var url: String { "postgres://postgres@127.0.0.1:\(port)/postgres" }

    /// Makes a server and starts it.
    ///
    /// - Parameter settings: Of `postgresql.conf`: for instance `["fsync": "on"]`.
    /// - Throws: ``Failure``, which says what is missing, or has what the server printed last.
    public static func start(_ settings: [String: String] = [:]) async throws -> PostgresServer {
        let programs = try findPrograms()
        let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        // The path of a Unix socket ends at about 100 bytes.
        let directory =
            (base.utf8.count < 60 ? base : "/tmp") + "/outbox-pg-" + String(UInt32.random(in: .min ... .max), radix: 36)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        if isRoot { try await run("chown", ["postgres", directory]) }
        try await run(
            asServer(programs + "/initdb"),
            ["-D", directory + "/data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        )
        var last: Failure?
        for _ in 0..<5 {
            let port = try freePort()
            let server = PostgresServer(port: port, programs: programs, directory: directory, settings: settings)
            do {
                try await server.start()
                return server
            } catch let error as Failure {
                // The port may have gone to another program meanwhile.
                last = error
                server.running.withLock { $0 = Running() }
            }
        }
        throw last ?? Failure(description: "PostgreSQL did not start")
    }

    /// Starts it again after ``stop(_:)``.
    public func start() async throws {
        var words = [
            "-D", directory + "/data", "-h", "127.0.0.1", "-p", String(port), "-k", directory, "-c", "fsync=off",
            "-c", "max_prepared_transactions=16", "-c", "max_connections=200", "-c", "lc_messages=C",
        ]
        for (name, value) in settings.sorted(by: { $0.key < $1.key }) { words += ["-c", "\(name)=\(value)"] }
        // The shell stops the server when it is told to, and when the pipe that tells it is closed with this process; then there
        // is no process left that would delete its directory.
        let script = """
            "$@" 2>&1 & server=$!
            read how || how=gone
            case "$how" in fast) kill -INT $server ;; *) kill -QUIT $server ;; esac
            wait $server
            case "$how" in gone) rm -rf "$0" ;; esac
            """
        let program = Self.asServer("/bin/sh")
        let process = try ChildProcess(
            program[0],
            Array(program.dropFirst()) + ["-c", script, directory, programs + "/postgres"] + words,
            hasOwnGroup: true
        )
        var log: [String] = []
        let lines = process.lines()
        var iterator = lines.makeAsyncIterator()
        while let line = await iterator.next() {
            log.append(line)
            guard !line.contains("ready to accept connections") else {
                // What it writes later is read, or it would stand still with a full pipe.
                let task = Task { for await _ in lines {} }
                running.withLock { $0 = Running(process: process, lines: task) }
                return
            }
            // It ends, and the shell waits for its order; the port is taken, for instance. Clients that come while it recovers are
            // told so with a FATAL of their own.
            if line.contains("FATAL"), !line.contains("the database system is") {
                try? process.input.write(contentsOf: Data("fast\n".utf8))
            }
        }
        throw Failure(description: "PostgreSQL did not start: " + log.suffix(5).joined(separator: "; "))
    }

    /// Stops it, and waits until it has ended. Does nothing where it is stopped.
    public func stop(_ mode: StopMode = .fast) async {
        guard let process = running.withLock({ $0.process.take() }) else { return }
        try? process.input.write(contentsOf: Data((mode.rawValue + "\n").utf8))
        _ = await process.end()
    }

    /// Stops it and starts it again.
    public func restart(_ mode: StopMode = .fast) async throws {
        await stop(mode)
        try await start()
    }

    /// Stops it and deletes its directory.
    public func shutdown() async {
        await stop(.immediate)
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Runs one of PostgreSQL's programs of the same version, for instance `pg_dump`, and waits for it.
    ///
    /// - Returns: What it printed.
    /// - Throws: ``Failure`` where its status is not 0.
    @discardableResult
    public func run(_ program: String, _ arguments: [String]) async throws -> String {
        try await Self.run([programs + "/" + program], arguments)
    }

    // MARK: Programs

    private static var isRoot: Bool { geteuid() == 0 }

    private static func asServer(_ program: String) -> [String] {
        isRoot ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", program] : [program]
    }

    private static func run(_ program: String, _ arguments: [String]) async throws {
        try await run([program], arguments)
    }

    @discardableResult
    private static func run(_ program: [String], _ arguments: [String]) async throws -> String {
        let words = Array(program.dropFirst()) + arguments
        let process = try ChildProcess("/bin/sh", ["-c", #"exec "$@" 2>&1"#, "run", program[0]] + words)
        try? process.input.close()
        var output: [String] = []
        for await line in process.lines() { output.append(line) }
        guard await process.end() == .exit(0) else {
            throw Failure(description: "\(program.last ?? "") failed: \(output.suffix(5).joined(separator: "; "))")
        }
        return output.joined(separator: "\n")
    }

    private static func findPrograms() throws -> String {
        let environment = ProcessInfo.processInfo.environment
        var places = environment["POSTGRES_BIN"].map { [$0] } ?? []
        for version in (12...20).reversed() {
            places += [
                "/usr/lib/postgresql/\(version)/bin", "/opt/homebrew/opt/postgresql@\(version)/bin",
                "/usr/local/opt/postgresql@\(version)/bin", "/usr/pgsql-\(version)/bin",
            ]
        }
        places += (environment["PATH"] ?? "").split(separator: ":").map(String.init)
        for place in places where FileManager.default.isExecutableFile(atPath: place + "/initdb") { return place }
        throw Failure(
            description: "install PostgreSQL's server (postgresql, or brew's postgresql@17), or set POSTGRES_BIN"
        )
    }

    private static func freePort() throws -> Int {
        let (descriptor, port) = try Loopback.bindForRestarts()
        close(descriptor)
        return port
    }
}
