/// The hosts of a connection string, in the order in which they are tried: a value.
struct LibpqHosts {
    /// What goes with each host where there is one for each of them; one for all stays.
    static let lists = ["host", "hostaddr", "port"]

    /// What libpq is given.
    private(set) var words: [String: String]
    /// How many hosts there are.
    private var count: Int
    /// How many were not skipped.
    private var left: Int
    private var isComplete = false

    init(_ words: [String: String]) {
        self.words = words
        count = max(Self.split(words["host"]).count, Self.split(words["hostaddr"]).count, 1)
        left = count
    }

    /// What libpq has made of the words the first time, with what the environment or a service file adds to them.
    mutating func learn(_ places: [String: String]) {
        guard !isComplete else { return }
        self = LibpqHosts(words.merging(places) { own, _ in own })
        isComplete = true
    }

    /// How long the next one may take.
    func share(of time: Duration) -> Duration { left > 1 ? time / left : time }

    /// One did not answer: it, and those before it, come last.
    ///
    /// - Parameters:
    ///   - host: Its name or address.
    ///   - port: Its port, for several may be on one host.
    /// - Returns: Whether there is another one to try.
    mutating func skip(_ host: String?, port: String? = nil) -> Bool {
        guard left > 1 else { return false }
        let names = Self.split(words["host"] ?? words["hostaddr"])
        let ports = Self.split(words["port"])
        let same = names.indices.filter { names[$0] == host }
        let index = same.first { ports.count == names.count && ports[$0] == port } ?? same.first
        let skipped = (index ?? 0) + 1
        left -= min(skipped, left - 1)
        for list in Self.lists {
            let values = Self.split(words[list])
            guard values.count == count else { continue }
            let turned = values.dropFirst(skipped % count) + values.prefix(skipped % count)
            words[list] = turned.joined(separator: ",")
        }
        return true
    }

    private static func split(_ list: String?) -> [String] {
        (list ?? "").split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    }
}
