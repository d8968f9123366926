/// Why a broker for tests could not do what it was asked.
public struct RabbitServerFailure: Error, CustomStringConvertible {
    /// What happened.
    public let description: String

    init(_ description: String) {
        self.description = description
    }
}
