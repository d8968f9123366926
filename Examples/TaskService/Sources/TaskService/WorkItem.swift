import Foundation
import Hummingbird

/// A task. (`Task` is Swift's.)
struct WorkItem: ResponseCodable, Sendable, Equatable {
    var id: String
    var title: String
    var state: String
}

/// What a client sends to make one.
struct NewWorkItem: Decodable, Sendable {
    var title: String
}

/// What the service tells others, and reads itself.
struct WorkEvent: Codable, Sendable {
    var id: String
    var title: String
    /// `created` or `done`.
    var kind: String

    static let topic = ProcessInfo.processInfo.environment["TOPIC"] ?? "tasks"
}

/// What the consumer has made of the events.
struct Projection: ResponseCodable, Sendable {
    var open: Int
    var done: Int
    /// How many events it has handled: one for each change, however often it was delivered.
    var events: Int
}
