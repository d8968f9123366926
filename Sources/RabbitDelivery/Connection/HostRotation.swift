/// Which host and which of its addresses to try next. A value.
struct HostRotation {
    private let hosts: [RabbitHost]
    private var index: Int
    private var triedInRound = 0
    private var addresses: [SocketAddress] = []
    /// What went wrong in this round.
    private var errors: [RabbitError] = []

    /// - Parameter hosts: Not empty; begins with one of them at random.
    init(_ hosts: [RabbitHost], using generator: inout some RandomNumberGenerator) {
        self.hosts = hosts
        index = hosts.isEmpty ? 0 : Int.random(in: 0..<hosts.count, using: &generator)
    }

    enum Step {
        case connect(SocketAddress, RabbitHost)
        case lookUp(RabbitHost)
        /// All were tried.
        case wait(RabbitError)
        /// All were tried, and none is to be trusted.
        case giveUp(RabbitError)
    }

    private var current: RabbitHost? { index < hosts.count ? hosts[index] : nil }

    mutating func next() -> Step {
        guard let host = current else { return .giveUp(.invalidConfiguration("there is no host")) }
        if !addresses.isEmpty { return .connect(addresses.removeFirst(), host) }
        if triedInRound < hosts.count {
            triedInRound += 1
            return .lookUp(host)
        }
        defer {
            triedInRound = 0
            errors = []
        }
        let last = errors.last ?? .connectionLost("no host could be connected to")
        return errors.allSatisfy { $0.kind == .certificate } && !errors.isEmpty ? .giveUp(last) : .wait(last)
    }

    /// A host's addresses.
    mutating func found(_ found: [SocketAddress]) {
        addresses = found
    }

    /// An attempt failed: at a look-up, or at an address.
    mutating func failed(_ error: RabbitError) {
        errors.append(error)
        if addresses.isEmpty, !hosts.isEmpty { index = (index + 1) % hosts.count }
    }

    /// A connection held: the next one begins with the same host again, unless the broker wants otherwise.
    mutating func connected() {
        triedInRound = 0
        addresses = []
        errors = []
    }
}
