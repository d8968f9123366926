/// Whose connection it is: a publisher or a consumer. Called on the connection's thread alone.
protocol ConnectionClient: AnyObject, Sendable {
    /// What is asked for on each new channel, the topology first.
    var channelRequests: [ClientMethod] { get }

    /// The channel is ready.
    func channelOpened(_ generation: Int, _ setup: ChannelSetup, _ wire: Wire)

    /// Takes what tasks have left for the thread, and ends what is too late. Called on each of the thread's turns.
    ///
    /// - Parameter wire: What to send with; nil where there is no channel now.
    /// - Returns: When to be called again at the latest; nil for when something happens.
    func advance(_ wire: Wire?, at now: Moment) -> Moment?

    /// The broker said something on the channel. What is thrown ends the connection.
    func received(_ method: ServerMethod, _ content: ReceivedContent?, _ wire: Wire) throws(RabbitError)

    /// Why the connection is of no use any more, though it lives; nil as long as it is.
    var connectionFault: RabbitError? { get }

    /// All that was read is handed over for now.
    func endOfInput()

    /// The channel is gone, with all that was outstanding on it.
    func channelLost(_ error: RabbitError)

    /// The broker takes nothing, or takes messages again.
    func setBlocked(_ isBlocked: Bool)

    /// Something that the application may want to know.
    func note(_ event: RabbitEvent)

    /// There will be no other connection.
    func failed(_ error: RabbitError)

    /// Whether the connection is not needed any more.
    var wantsEnd: Bool { get }

    /// The thread ends.
    func ended()
}
