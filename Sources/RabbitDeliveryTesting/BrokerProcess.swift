internal import DeliveryCore
internal import DeliverySystem
internal import DeliveryTesting
internal import Foundation
internal import Synchronization

/// RabbitMQ's processes, and the shell that ends them: with a pipe's end, which comes when this process is gone.
final class BrokerProcess: Sendable {
    let ports: BrokerPorts
    let hasTLS: Bool
    private let directory: URL
    /// One call at a time: two of them would have the same name as nodes.
    private let calls = BlockingQueue("erl-call")
    /// Its input says what to do, and its end that this process is gone. No other child has that pipe, or it would never end: all of
    /// them are started as this one, with nothing but their own three files.
    private let shell: ChildProcess
    // The thread that waits for the shell's end tells the others.
    private let hasEnded: Shared

    private final class Shared: Sendable {
        let flag = Atomic(false)
    }

    init(_ options: RabbitServer.Options, ports: BrokerPorts) throws {
        let program = try Self.program()
        let directory = FileManager.default.temporaryDirectory.appending(path: "rabbit-\(UUID().uuidString.prefix(8))")
        let home = directory.appending(path: "home")
        try FileManager.default.createDirectory(at: home, withIntermediateDirectories: true)
        func write(_ text: String, _ name: String) throws {
            try Data(text.utf8).write(to: directory.appending(path: name))
        }
        if options.hasTLS { try TestCertificates.make(in: directory) }
        try write(Self.configuration(ports, directory, options), "rabbitmq.conf")
        try write(Self.advanced(options), "advanced.config")
        try write("[rabbitmq_auth_mechanism_ssl].", "enabled_plugins")
        try write(Self.script, "run.sh")

        let shell = try ChildProcess(
            "/usr/bin/env",
            Self.environment(ports, directory)
                + ["/bin/sh", directory.appending(path: "run.sh").path, program, directory.path]
        )
        let hasEnded = Shared()
        self.ports = ports
        hasTLS = options.hasTLS
        self.directory = directory
        self.shell = shell
        self.hasEnded = hasEnded
        Thread.detachNewThread {
            shell.wait()
            hasEnded.flag.store(true, ordering: .releasing)
        }
    }

    func path(_ name: String) -> String { directory.appending(path: name).path }

    /// Whether the broker, which may be starting, has not ended by itself. The shell goes on without it.
    var isRunning: Bool {
        guard !hasEnded.flag.load(ordering: .acquiring) else { return false }
        let text = try? String(contentsOf: directory.appending(path: "program"), encoding: .utf8)
        guard let process = pid_t((text ?? "").filter(\.isNumber)), process > 1 else { return true }
        return !SignalledProcess(identifier: process).hasEnded
    }

    /// The last lines that the broker wrote.
    var lastWords: String {
        let log = try? String(contentsOf: directory.appending(path: "output"), encoding: .utf8)
        return String((log ?? "").suffix(600))
    }

    /// Ends the broker; the shell takes its directory away.
    func end() {
        try? shell.input.close()
    }

    func startAgain() throws {
        // It names the one that was killed until the shell has started another.
        try? FileManager.default.removeItem(at: directory.appending(path: "program"))
        try shell.input.write(contentsOf: Data("start\n".utf8))
    }

    /// - Returns: The process that was signalled.
    func signal(_ number: Int32) throws -> SignalledProcess {
        let text = try String(contentsOf: directory.appending(path: "pid"), encoding: .utf8)
        guard let process = pid_t(text.filter(\.isNumber)), process > 1 else {
            throw RabbitServerFailure("RabbitMQ has no process")
        }
        guard kill(process, number) == 0 else { throw RabbitServerFailure("RabbitMQ's process \(process) is gone") }
        return SignalledProcess(identifier: process)
    }

    /// Evaluates an expression through `erl_call`, which comes with Erlang and answers in milliseconds; `rabbitmqctl` takes two
    /// seconds a call.
    func evaluate(_ expression: String) async throws -> String {
        let cookie = try String(contentsOf: directory.appending(path: "home/.erlang.cookie"), encoding: .utf8)
        let node = "rabbit-\(ports.plain)@localhost"
        let (environment, directory) = (Self.environment(ports, directory), directory)
        let result = await calls.run(otherwise: { _ in .failure(RabbitServerFailure("erl_call was not called")) }) {
            Result<String, any Error> {
                // A broker that is busy still has the node of the call before, and does not let one with its name in: nothing was evaluated.
                let deadline = ContinuousClock.now.advanced(by: .seconds(30))
                while true {
                    let output = try Self.run(
                        environment + ["erl_call", "-sname", node, "-c", cookie, "-e"],
                        input: expression + "\n",
                        in: directory
                    )
                    let isRefused = output.hasPrefix("erl_call: failed to connect to node")
                    guard isRefused, self.isRunning, ContinuousClock.now < deadline else { return output }
                    // Time is what is waited for: it does not say when it has let go of that node.
                    Thread.sleep(forTimeInterval: 0.02)
                }
            }
        }
        let output = try result.get()
        guard output.hasPrefix("{ok") else { throw RabbitServerFailure("the broker says \(output)") }
        return output
    }

    /// Runs a program to its end, and returns what it says, of errors too. Blocks. Its input is a file: writing to the pipe of one that
    /// did not read would end this process.
    private static func run(_ words: [String], input: String, in directory: URL) throws -> String {
        let file = directory.appending(path: "call.in")
        try Data(input.utf8).write(to: file)
        let script = #"file="$1"; shift; exec env "$@" <"$file" 2>&1"#
        let process = try ChildProcess("/bin/sh", ["-c", script, "sh", file.path] + words)
        try process.input.close()
        let output = try process.output.readToEnd() ?? Data()
        process.wait()
        return String(decoding: output, as: UTF8.self)
    }

    // MARK: What it is started with

    /// Starts RabbitMQ and its register of nodes, again for each line that says so, and ends them with its input. `epmd` runs in
    /// the foreground: otherwise a daemon would outlive the broker; and is killed, for it inherits from a thread of Swift's pool that
    /// other signals are blocked. `$1` is the program, `$2` the directory. A broker that ended is there, as a zombie, until another is
    /// started.
    private static let script = """
        trap '' INT HUP
        epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" >/dev/null 2>&1 &
        register=$!
        start() {
            rm -f "$2/pid"
            "$1" >>"$2/output" 2>&1 &
            echo $! >"$2/program"
        }
        start "$1" "$2"
        while read -r line; do
            wait $! 2>/dev/null
            start "$1" "$2"
        done
        kill $!
        [ -f "$2/pid" ] && kill -CONT "$(cat "$2/pid")" 2>/dev/null
        [ -f "$2/pid" ] && kill -KILL "$(cat "$2/pid")" 2>/dev/null
        wait $!
        kill -KILL $register
        rm -rf "$2"

        """

    /// As `env` takes it, beside what this process has.
    private static func environment(_ ports: BrokerPorts, _ directory: URL) -> [String] {
        func path(_ name: String) -> String { directory.appending(path: name).path }
        return [
            "HOME": path("home"),
            "ERL_EPMD_PORT": "\(ports.nodeNames)",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": path("crash"),
            "RABBITMQ_NODENAME": "rabbit-\(ports.plain)@localhost",
            "RABBITMQ_MNESIA_BASE": path("mnesia"),
            "RABBITMQ_LOG_BASE": directory.path,
            "RABBITMQ_CONFIG_FILE": path("rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": path("advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": path("none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": path("enabled_plugins"),
            "RABBITMQ_PID_FILE": path("pid"),
            "RABBITMQ_DIST_PORT": "\(ports.distribution)",
            // Erlang's schedulers would spin between messages, on the processors that the tests need.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
        ].map { "\($0)=\($1)" }
    }

    private static func configuration(_ ports: BrokerPorts, _ directory: URL, _ options: RabbitServer.Options) -> String
    {
        var lines = [
            "listeners.tcp.1 = 127.0.0.1:\(ports.plain)",
            "log.console = false",
            "log.file = \(directory.appending(path: "rabbit.log").path)",
            "disk_free_limit.absolute = 50MB",
            "auth_mechanisms.1 = PLAIN",
            "auth_mechanisms.2 = AMQPLAIN",
            "auth_mechanisms.3 = EXTERNAL",
        ]
        if options.hasTLS {
            let port = ports.encrypted
            lines += [
                "listeners.ssl.1 = 127.0.0.1:\(port)",
                "ssl_options.cacertfile = \(directory.appending(path: "ca.pem").path)",
                "ssl_options.certfile = \(directory.appending(path: "server.pem").path)",
                "ssl_options.keyfile = \(directory.appending(path: "server.key").path)",
                "ssl_options.verify = verify_peer",
                "ssl_options.fail_if_no_peer_cert = false",
                "ssl_cert_login_from = common_name",
            ]
        }
        if let timeout = options.consumerTimeout {
            lines.append("consumer_timeout = \(Int(timeout / .milliseconds(1)))")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// How often a channel looks at its consumers is no setting of `rabbitmq.conf`.
    private static func advanced(_ options: RabbitServer.Options) -> String {
        options.consumerTimeout == nil ? "[]." : "[{rabbit, [{channel_tick_interval, 1000}]}]."
    }

    /// RabbitMQ's own script. The ones in `/usr/sbin` change the user and the directory.
    private static func program() throws -> String {
        let candidates = [
            "/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server",
            "/usr/local/sbin/rabbitmq-server",
        ]
        guard let found = candidates.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else {
            throw RabbitServerFailure("Install RabbitMQ (apt-get install rabbitmq-server, or brew install rabbitmq).")
        }
        return found
    }
}
