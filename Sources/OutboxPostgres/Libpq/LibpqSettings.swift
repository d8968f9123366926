internal import CPostgreSQL
public import OutboxDelivery

/// How to connect to PostgreSQL. libpq reads it all: the URL or connection string, a password file (`PGPASSFILE`, `~/.pgpass`), the
/// environment (`PGPASSWORD`, `PGSSLMODE`, …) and a service file; so TLS is what `sslmode`, `sslrootcert` and the others say.
///
/// A publisher's connection must be its own from end to end: its locks belong to the session. A pooler such as PgBouncer
/// gives each transaction another one, or may; a publisher notices a pooler and refuses it; let it connect past the pooler.
/// What writes through this package's ``LibpqConnection/withTransaction(_:)``, or through a client of the service's own, may be
/// behind one.
public struct LibpqSettings: Sendable, Hashable {
    /// `postgres://user@host:5432/database?sslmode=verify-full`, or `host=… dbname=…`; empty for what the environment says.
    /// A password in it is never printed. An abstract Unix socket (`host=@/run/shop`) has to be named in the second form.
    public var connection: String

    /// What sessions are called in `pg_stat_activity` where neither the connection string nor the environment names them
    /// (`fallback_application_name`).
    public var applicationName: String = "outbox"

    /// How long connecting may take, TLS and authentication included; more than zero.
    public var connectTimeout: Duration = .seconds(10)

    /// How long a statement may go unanswered before the connection counts as dead; more than zero. The server's own
    /// `statement_timeout` is what a statement should run into first.
    public var answerTimeout: Duration = .seconds(60)

    /// How long the server may take to accept the request to end a statement whose task was cancelled; more than zero. Then the connection
    /// is given up, for it is not certain what the request would hit.
    public var cancelTimeout: Duration = .seconds(10)

    /// How many statements may be under way at a time (libpq's pipeline mode), 1 or more; what is beyond waits in the client.
    public var maximumPipelined: Int = 32

    /// How many statements a connection keeps prepared at the server, 0 or more: PostgreSQL reads and plans a statement that comes for the
    /// second time once, and not each time (`PREPARE` of the protocol, not of SQL). None by default, for a pooler that gives each
    /// transaction another session must know such statements: PgBouncer does so from 1.21 on, with `max_prepared_statements`.
    ///
    /// What a prepared statement costs in the server's memory stays until the connection's end; a statement is its text and
    /// which of its values are bytes, and those that come when there are so many are not prepared. A change of a table may make one fail
    /// once, with the code `0A000` and the recovery `retry`; it works when it is sent again.
    public var maximumPreparedStatements: Int = 0

    /// Settings for a connection string.
    public init(_ connection: String) {
        self.connection = connection
    }

    /// What libpq made of the connection string, without secrets: for instance `["host": "db", "dbname": "shop"]`.
    ///
    /// - Throws: ``OutboxError`` of kind `invalidConfiguration` where libpq cannot read it; why is not in it, for libpq quotes what
    ///   it could not read, and that may be a password.
    public func parameters() throws(OutboxError) -> [String: String] {
        try words().filter { !Self.isSecret($0.key) }
    }

    /// All that libpq is given, secrets included.
    func words() throws(OutboxError) -> [String: String] {
        guard !connection.utf8.contains(0) else { throw Self.unreadable }
        guard connectTimeout > .zero, answerTimeout > .zero, cancelTimeout > .zero, maximumPipelined >= 1,
            maximumPreparedStatements >= 0
        else {
            throw .invalidConfiguration(
                "connectTimeout, answerTimeout, cancelTimeout and maximumPipelined have to be more than zero, and "
                    + "maximumPreparedStatements not less"
            )
        }
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(connection, &message) else {
            PQfreemem(message)
            throw Self.unreadable
        }
        defer { PQconninfoFree(options) }
        var words: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { words[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        // A slash in a password ends the address for libpq, and puts parts of the password into what is printed: the slash has to be %2F.
        let ports = words["port", default: ""].split(separator: ",")
        let isAddress = connection.hasPrefix("postgres://") || connection.hasPrefix("postgresql://")
        let hosts = words["host", default: ""].split(separator: ",")
            // An abstract Unix socket.
            .map { !isAddress && $0.hasPrefix("@") ? $0.dropFirst() : $0 }
        guard ports.allSatisfy({ UInt16($0) != nil }), !hosts.contains(where: { $0.contains("@") }),
            !(connection.contains("://") && words["dbname", default: ""].contains("@"))
        else { throw Self.unreadable }
        return words
    }

    private static let unreadable = OutboxError.invalidConfiguration(
        "mend the connection string: libpq cannot read it; it is postgres://user@host:port/database?name=value, with % "
            + "codes for special characters in a password, or name=value with spaces between"
    )

    static func isSecret(_ name: String) -> Bool {
        // libpq 18 has `oauth_client_secret` and `scram_client_key`.
        name.contains("password") || name.contains("secret") || name.hasPrefix("scram_") || name == "sslkey"
            || name == "passfile" || hidden.contains(name)
    }

    /// What libpq itself says is to be shown as stars (`PQconninfoOption.dispchar`).
    private static let hidden: Set<String> = {
        guard let options = PQconninfoParse("", nil) else { return [] }
        defer { PQconninfoFree(options) }
        var hidden: Set<String> = []
        var option = options
        while let keyword = option.pointee.keyword {
            if let mark = option.pointee.dispchar, String(cString: mark) == "*" {
                hidden.insert(String(cString: keyword))
            }
            option += 1
        }
        return hidden
    }()
}

extension LibpqSettings: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Where to, without secrets.
    public var description: String {
        guard let words = try? parameters() else { return "LibpqSettings(a connection string that cannot be read)" }
        return "LibpqSettings(" + words.sorted { $0.key < $1.key }.map { "\($0)=\($1)" }.joined(separator: " ") + ")"
    }

    /// Where to, without secrets.
    public var debugDescription: String { description }

    /// Where to, without secrets.
    public var customMirror: Mirror {
        Mirror(self, children: ["parameters": (try? parameters()) ?? [:]])
    }
}
