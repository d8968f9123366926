/// Starts a broker once, for all who ask.
package actor SharedServer {
    private let make: @Sendable () async throws -> RabbitServer
    private var starting: Task<RabbitServer, any Error>?

    /// - Parameter make: Starts it.
    package init(_ make: @escaping @Sendable () async throws -> RabbitServer) {
        self.make = make
    }

    /// The broker; started by the first who asks, and by the next one where that failed.
    package func server() async throws -> RabbitServer {
        if let starting { return try await starting.value }
        let starting = Task { [make] in try await make() }
        self.starting = starting
        do {
            return try await starting.value
        } catch {
            self.starting = nil
            throw error
        }
    }
}
