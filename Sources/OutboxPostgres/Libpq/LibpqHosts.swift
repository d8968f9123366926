/// The hosts of a connection string, in the order in which they are tried: a value.
struct LibpqHosts {
    /// What goes with each host where there is one for each of them; one for all stays.
    private static let lists = ["host", "hostaddr", "port"]

    /// What libpq is given.
    private(set) var words: [String: String]
    /// How many hosts there are.
    private let count: Int
    /// How many were not skipped.
    private var left: Int

    init(_ words: [String: String]) {
        self.words = words
        count = max(Self.split(words["host"]).count, Self.split(words["hostaddr"]).count, 1)
        left = count
    }

    /// How long the next one may take.
    func share(of time: Duration) -> Duration { left > 1 ? time / left : time }

    /// One did not answer: it, and those before it, come last.
    ///
    /// - Parameter host: Its name or address.
    /// - Returns: Whether there is another one to try.
    mutating func skip(_ host: String?) -> Bool {
        guard left > 1 else { return false }
        let names = Self.split(words["host"] ?? words["hostaddr"])
        let skipped = (host.flatMap { names.firstIndex(of: $0) } ?? 0) + 1
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
