/// A client for the length of a scope: closed when `body` ends, however it does.
package func withClient<Client, Result>(
    _ client: Client,
    _ body: (Client) async throws -> sending Result,
    close: (Client) async -> Void
) async throws -> sending Result {
    do {
        let result = try await body(client)
        await close(client)
        return result
    } catch {
        await close(client)
        throw error
    }
}
