import Synchronization
import Testing

@testable import RabbitDelivery

@Suite struct RoomTests {
    @Test func aTaskThatGivesUpMakesWayForSmallerMessagesBehindItsOwn() async throws {
        // Nobody answers there: what is accepted keeps its room.
        var configuration = RabbitPublisher.Configuration(hosts: ["127.0.0.1:1"])
        configuration.maximumUnconfirmedBytes = 100
        let publisher = try RabbitPublisher(configuration)
        func message(_ size: Int) -> RabbitMessage {
            RabbitMessage(queue: "any", body: [UInt8](repeating: 0, count: size))
        }
        _ = try await publisher.enqueue(message(60))
        let large = Task { try await publisher.send(message(90)) }
        while publisher.core.queue.withLock({ $0.roomWaiterCount }) < 1 { await Task.yield() }
        let small = Task { try await publisher.enqueue(message(10)) }
        while publisher.core.queue.withLock({ $0.roomWaiterCount }) < 2 { await Task.yield() }
        large.cancel()
        let error = await #expect(throws: RabbitError.self) { try await large.value }
        #expect(error?.kind == .cancelled && error?.persistence == .notPersisted)
        _ = try await small.value
        #expect(await publisher.close(within: .zero).failed == 2)
    }
}
