/// The two ends of a relayed connection.
enum RelaySide {
    /// The client that connected.
    case client
    /// Whom it meant.
    case broker

    var other: RelaySide { self == .client ? .broker : .client }
}

/// What a ``RelayFilter`` has to work with: the bytes on their way to either end, and the end of it all.
struct RelayPipes {
    /// What ends a connection.
    enum End {
        /// Both ends are closed at once; what waits is lost.
        case cut
        /// Nothing more is read, and both ends are closed when what waits is written.
        case closing
    }

    var toClient = RelayQueue()
    var toBroker = RelayQueue()
    private(set) var end: End?

    subscript(to side: RelaySide) -> RelayQueue {
        get { side == .client ? toClient : toBroker }
        _modify {
            switch side {
            case .client: yield &toClient
            case .broker: yield &toBroker
            }
        }
    }

    mutating func cut() {
        end = .cut
    }

    mutating func closeWhenWritten() {
        if end == nil { end = .closing }
    }
}

/// What happens to the bytes of one connection. Used on its relay's thread only.
protocol RelayFilter: AnyObject {
    typealias Instant = ContinuousClock.Instant

    /// Bytes came from one end.
    func receive(_ bytes: UnsafeRawBufferPointer, from side: RelaySide, at now: Instant, into pipes: inout RelayPipes)

    /// Called in each round of the relay, after reading and before writing.
    func advance(at now: Instant, _ pipes: inout RelayPipes)

    /// When ``advance(at:_:)`` has to be called again, whatever arrives; nil where it need not.
    func wakeUp(after now: Instant) -> Instant?

    /// Whether bytes may be read from an end.
    func mayRead(from side: RelaySide) -> Bool

    /// Whether bytes may be written to an end.
    func mayWrite(to side: RelaySide) -> Bool

    /// Whether the broker's end has to stay open, though the client's is gone.
    var needsBroker: Bool { get }

    /// The client's end is broken: nothing that is said to it will be heard.
    func clientIsGone()

    /// The broker says nothing more.
    func brokerIsFinished(_ pipes: inout RelayPipes)

    /// The connection is over.
    func close()
}

extension RelayFilter {
    var needsBroker: Bool { false }

    func clientIsGone() {}

    func brokerIsFinished(_ pipes: inout RelayPipes) {}
}
