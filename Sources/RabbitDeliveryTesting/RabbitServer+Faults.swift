internal import DeliverySystem
internal import Foundation

/// What can be done to a broker of one's own. Each throws ``RabbitServerFailure`` where the broker is another's.
extension RabbitServer {
    private var own: BrokerProcess {
        get throws {
            guard let process else { throw RabbitServerFailure("the broker is another's") }
            return process
        }
    }

    /// Kills the broker (SIGKILL). Messages that it had confirmed are in its directory; that there is a queue for them is so only
    /// after ``storeDeclarations()``, or some seconds.
    public func kill() throws {
        _ = try own.signal(SIGKILL)
    }

    /// Returns when what was declared until now (queues, exchanges, bindings) outlives ``kill()``.
    ///
    /// RabbitMQ answers a declaration when Mnesia has it in its log, whose end is written some time later. Killed before that, the
    /// broker comes back without the queue, and deletes the messages that it had confirmed for it.
    public func storeDeclarations() async throws {
        _ = try await own.evaluate("mnesia:sync_log().")
    }

    /// Starts it again after ``kill()``, on the same ports, with what is in its directory; returns when a login works.
    public func restart() async throws {
        try own.startAgain()
        try await waitUntilReady()
    }

    /// Freezes the broker (SIGSTOP): its connections stay open, and nothing answers. Returns when it has stopped: until the last of
    /// its threads has taken the signal, the broker still answers.
    public func freeze() async throws {
        let process = try own.signal(SIGSTOP)
        // Nothing signals that another's child has stopped: `waitpid` tells only its parent.
        while try !process.hasStopped { try await Task.sleep(for: .milliseconds(1)) }
    }

    /// Lets it go on.
    public func thaw() throws {
        _ = try own.signal(SIGCONT)
    }

    /// Makes the broker believe that it has no memory left, or again that it has: it blocks connections that publish. Returns when every
    /// connection knows.
    public func setMemoryAlarm(_ isOn: Bool) async throws {
        _ = try await own.evaluate(
            "vm_memory_monitor:set_vm_memory_high_watermark(\(isOn ? "0.0000001" : "0.4")), pg_local:sync(),"
                // The alarm is a message to its handler, and from there one to each connection's reader: each answers what comes after it.
                + " rabbit_alarm:get_alarms(),"
                + " [catch rabbit_networking:connection_info(P, [state]) || P <- rabbit_networking:local_connections()], ok."
        )
    }

    /// Closes all connections of a virtual host from the broker's side (320, CONNECTION_FORCED).
    public func closeConnections(of virtualHost: String) async throws {
        _ = try await own.evaluate(
            // Readers join before they answer `connection.open`; the broker's tables of connections know of one later.
            "pg_local:sync(), [catch rabbit_networking:close_connection(P, \"closed by a test\") ||"
                + " P <- rabbit_networking:local_connections(), (catch rabbit_networking:connection_info(P, [vhost]))"
                + " =:= [{vhost, <<\"\(virtualHost)\">>}]], ok."
        )
    }

    /// How many connections a virtual host has, as the broker counts them.
    public func connectionCount(of virtualHost: String) async throws -> Int {
        let answer = try await own.evaluate("length(rabbit_connection_tracking:list(<<\"\(virtualHost)\">>)).")
        return Int(answer.filter(\.isNumber)) ?? -1
    }

    /// Evaluates an Erlang expression in the broker.
    ///
    /// - Parameter expression: Ends with a full stop.
    /// - Returns: What `erl_call` prints of its value: `{ok, …}`.
    public func evaluate(_ expression: String) async throws -> String {
        try await own.evaluate(expression)
    }
}
