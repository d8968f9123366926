internal import CPostgreSQL
internal import DeliveryCore
internal import DeliverySystem
internal import OutboxDelivery

/// The owner of a `PGconn`. Used by its connection's thread only, and destroyed there.
final class LibpqHandle {
    /// What the server said last before it ended the session while nothing was under way: libpq tells it as a notice.
    private final class Notices {
        var fatal: OutboxError?
    }

    /// What libpq made of its input.
    enum Answer {
        case rows(LibpqRows)
        case failure(OutboxError)
        /// The statement and its implicit transaction are over (`ReadyForQuery`).
        case sync
        /// libpq has nothing yet.
        case nothing
        /// The server waits for `COPY` data, or sends them: nothing else comes on this connection any more.
        case copying
    }

    /// Where a request goes to end what the server does for this connection; nil where it is not connected. To be made on the
    /// connection's thread, and used on another one, for it blocks.
    func canceller() -> LibpqCanceller? { PQgetCancel(connection).map { LibpqCanceller($0) } }

    /// The host that is being connected to.
    var host: String? { PQhost(connection).map { String(cString: $0) } }

    /// The port that is being connected to.
    var port: String? { PQport(connection).map { String(cString: $0) } }

    /// ``LibpqHosts/lists`` as libpq takes them, wherever they are named: in the connection string, the environment or a service file.
    var places: [String: String] {
        guard let options = PQconninfo(connection) else { return [:] }
        defer { PQconninfoFree(options) }
        var places: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            let name = String(cString: keyword)
            if LibpqHosts.lists.contains(name), let value = option.pointee.val { places[name] = String(cString: value) }
            option += 1
        }
        return places
    }

    /// What to wait for.
    enum Interest {
        case read
        case write
        case ready
        case failed

        /// Whether there is something to wait for.
        var isOpen: Bool { self == .read || self == .write }
    }

    private let connection: OpaquePointer
    private let notices: Unmanaged<Notices>

    /// Begins to connect; a name is looked up here, which blocks.
    init?(_ words: [String: String]) {
        var names: [UnsafeMutablePointer<CChar>?] = []
        var values: [UnsafeMutablePointer<CChar>?] = []
        for (name, value) in words {
            names.append(strdup(name))
            values.append(strdup(value))
        }
        defer { for pointer in names + values { free(pointer) } }
        var nameList = names.map { UnsafePointer($0) } + [nil]
        var valueList = values.map { UnsafePointer($0) } + [nil]
        guard let connection = PQconnectStartParams(&nameList, &valueList, 0) else { return nil }
        self.connection = connection
        self.notices = Unmanaged.passRetained(Notices())
        // Without one libpq prints to standard error.
        PQsetNoticeReceiver(
            connection,
            { context, result in
                guard let context, let result, let error = LibpqFailure.fatal(result) else { return }
                Unmanaged<Notices>.fromOpaque(context).takeUnretainedValue().fatal = error
            },
            notices.toOpaque()
        )
    }

    deinit {
        PQfinish(connection)
        notices.release()
    }

    /// The socket, which may be another one after each call of ``connect()``.
    var descriptor: Int32 { PQsocket(connection) }

    var message: String { LibpqFailure.message(connection) }

    var isBroken: Bool { PQstatus(connection) == CONNECTION_BAD }

    /// What the server gave as the reason for the end.
    var lastWords: OutboxError? { notices.takeUnretainedValue().fatal }

    /// The server's process, for log lines.
    var backend: Int32 { PQbackendPID(connection) }

    /// Goes on connecting.
    func connect() -> Interest {
        switch PQconnectPoll(connection) {
        case PGRES_POLLING_READING: return .read
        case PGRES_POLLING_WRITING: return .write
        case PGRES_POLLING_OK:
            guard PQsetnonblocking(connection, 1) == 0, PQenterPipelineMode(connection) == 1 else { return .failed }
            return .ready
        default: return .failed
        }
    }

    /// Hands a statement to libpq, with a sync of its own: without one an error would abort the statements after it.
    func send(_ statement: OutboxStatement, _ way: LibpqPreparedStatements.Way) -> Bool {
        let values = statement.values.map(Parameter.init)
        defer { for value in values { value.free() } }
        let pointers = values.map { UnsafePointer($0.bytes) }
        let lengths = values.map(\.length)
        let formats = values.map { $0.isBinary ? Int32(1) : 0 }
        let types = values.map { $0.isBinary ? Oid(17) : 0 }
        let count = Int32(values.count)
        let isSent =
            switch way {
            case .unnamed:
                PQsendQueryParams(connection, statement.text, count, types, pointers, lengths, formats, 1) == 1
            case .preparing(let name, _):
                PQsendPrepare(connection, name, statement.text, count, types) == 1
                    && PQsendQueryPrepared(connection, name, count, pointers, lengths, formats, 1) == 1
            case .named(let name, _):
                PQsendQueryPrepared(connection, name, count, pointers, lengths, formats, 1) == 1
            }
        return isSent && PQpipelineSync(connection) == 1
    }

    /// Writes what waits to be written.
    ///
    /// - Returns: Whether something is left, to be written when the socket takes it; nil where the connection is broken.
    func flush() -> Bool? {
        switch PQflush(connection) {
        case 0: false
        case 1: true
        default: nil
        }
    }

    /// Reads what has arrived.
    ///
    /// - Returns: Whether the connection is still there.
    func consume() -> Bool {
        PQconsumeInput(connection) == 1
    }

    /// The next answer that is complete; never waits, unless the connection is broken already, when libpq does not wait either.
    func next() -> Answer {
        // Nil ends a statement's results, and comes once; twice in a row says that libpq has nothing under way.
        for _ in 0..<2 {
            guard PQisBusy(connection) == 0 else { return .nothing }
            guard let result = PQgetResult(connection) else { continue }
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: return .rows(LibpqRows(result))
            case PGRES_PIPELINE_SYNC:
                PQclear(result)
                return .sync
            case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE, PGRES_NONFATAL_ERROR:
                defer { PQclear(result) }
                return .failure(LibpqFailure.statement(result))
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                PQclear(result)
                return .copying
            default:
                PQclear(result)
                return .failure(LibpqFailure.error(code: "", message: "an answer of no kind", persistence: nil))
            }
        }
        return .nothing
    }

    /// Takes one notification.
    func takeNotification() -> Bool {
        guard let notification = PQnotifies(connection) else { return false }
        PQfreemem(notification)
        return true
    }

    /// A bound value as libpq takes it. Texts and numbers are in text format, so that the server takes them for whatever the
    /// statement needs.
    private struct Parameter {
        let bytes: UnsafeMutablePointer<CChar>?
        let length: Int32
        let isBinary: Bool

        init(_ value: OutboxValue) {
            switch value {
            case .null: (bytes, length, isBinary) = (nil, 0, false)
            case .text(let text): (bytes, length, isBinary) = (strdup(text), 0, false)
            case .integer(let number): (bytes, length, isBinary) = (strdup(String(number)), 0, false)
            case .bytes(let array):
                let copy = UnsafeMutablePointer<CChar>.allocate(capacity: array.count + 1)
                UnsafeMutableRawPointer(copy).copyMemory(from: array, byteCount: array.count)
                (bytes, length, isBinary) = (copy, Int32(clamping: array.count), true)
            }
        }

        func free() {
            if isBinary { bytes?.deallocate() } else { systemFree(bytes) }
        }
    }
}

/// C's function, which has a namesake above.
private func systemFree(_ pointer: UnsafeMutablePointer<CChar>?) {
    free(pointer)
}
