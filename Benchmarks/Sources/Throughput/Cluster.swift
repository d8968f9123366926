import BareLoop
import Foundation

/// The brokers that everything is measured on: a child process with mock ones, or somebody's.
final class Cluster {
    let servers: [String]
    var isMock: Bool { mock != nil }
    private let mock: Child?
    private var topics: Set<String> = []
    /// Topics that have their messages, by what is in them.
    private var filled: [String: [String]] = [:]
    private let prefix = "bench-\(UInt32.random(in: 0 ... .max))"

    init(_ servers: [String]) throws {
        if servers.isEmpty {
            let mock = try Child("the mock cluster", ["cluster"])
            self.servers = try mock.readLine(within: 30).split(separator: ",").map { String($0) }
            self.mock = mock
        } else {
            self.servers = servers
            self.mock = nil
        }
    }

    var description: String {
        isMock ? "one mock broker in a process of its own" : "the cluster at \(servers.joined(separator: ","))"
    }

    /// The topics that a cell sends to or reads, with their messages where it reads.
    func topics(for cell: Cell) throws -> [String] {
        // What was sent to a topic is nobody else's to read, but what lies ready can be read by all.
        let content = "\(cell.partitions) partitions, \(cell.count) of \(cell.size) bytes, \(cell.headers) headers"
        if cell.needsFilledTopic, let topics = filled[content] { return topics }
        let names = (0..<cell.topics).map { "\(prefix)-\(topics.count + $0)" }
        for name in names {
            if let mock {
                try mock.write("\(name) \(cell.partitions)")
                _ = try mock.readLine(within: 30)
            } else {
                try administrate { bare_create_topic($0, name, Int32(cell.partitions)) }
            }
        }
        topics.formUnion(names)
        if cell.needsFilledTopic {
            try fill(names, cell)
            filled[content] = names
        }
        return names
    }

    private func fill(_ topics: [String], _ cell: Cell) throws {
        let job = Job(
            cell: cell,
            side: .bare,
            bootstrapServers: servers,
            topics: topics,
            group: "",
            countsAllocations: false,
            isMock: isMock
        )
        try BareWorker.fill(job)
    }

    /// Deletes what was made. A mock cluster goes with its process.
    func cleanUp() {
        guard !isMock else { return }
        for topic in topics { try? administrate { bare_delete_topic($0, topic) } }
    }

    private func administrate(_ body: (OpaquePointer) -> Int32) throws {
        let client = try BareWorker.withStrings(["bootstrap.servers", servers.joined(separator: ",")], []) {
            bare_producer_new($0, $1, 0)
        }
        defer { bare_client_destroy(client) }
        guard body(client) == 0 else { throw Failure(String(cString: bare_error())) }
    }
}
