import OutboxDelivery
import OutboxPostgres

/// A connection for as long as the service lives: a `LibpqConnection` lives once, and is opened anew when the server was restarted. What was
/// asked for meanwhile fails, and says whether it may have been carried out; what is asked next is not held up by it.
actor RenewedConnection {
    private let settings: LibpqSettings
    private var opening: Task<LibpqConnection, any Error>?

    init(_ settings: LibpqSettings) {
        self.settings = settings
    }

    @discardableResult
    func query(_ statement: OutboxStatement) async throws -> LibpqRows {
        let current: Task<LibpqConnection, any Error>
        if let opening {
            current = opening
        } else {
            current = Task { [settings] in try await LibpqConnection.open(settings) }
            opening = current
        }
        do {
            return try await current.value.query(statement)
        } catch let error as OutboxError {
            switch error.kind {
            // It is gone, unless another request has found that out and opened the next one.
            case .unavailable, .timedOut, .closed: if opening == current { opening = nil }
            default: break
            }
            throw error
        }
    }
}
