import Testing

@testable import RabbitDelivery

/// A wait may take as long as an application says, also longer than can be slept for.
@Suite(.timeLimit(.minutes(5))) struct LongWaitTests {
    static let longest: [Duration] = [.seconds(Int64.max), Duration(attoseconds: .max)]

    @Test(arguments: longest) func aConnectionIsWaitedForHoweverLong(timeout: Duration) async throws {
        let state = ConnectedState()
        let waiting = Task { () -> RabbitError.Kind? in
            do throws(RabbitError) {
                try await state.wait(within: timeout)
                return nil
            } catch {
                return error.kind
            }
        }
        // The timer has had its turns to begin.
        for _ in 0..<100 { await Task.yield() }
        state.end(.closed(persistence: nil))
        #expect(await waiting.value == .closed)
    }

    @Test(arguments: longest) func aDeliveryIsWaitedForHoweverLong(limit: Duration) async throws {
        let consumer = try RabbitConsumer(.init(hosts: ["localhost"], queue: "orders"))
        let waiting = Task { await consumer.core.next(within: limit) }
        for _ in 0..<100 { await Task.yield() }
        // So may closing.
        await consumer.close(within: limit)
        #expect(try await waiting.value.get() == nil)
    }
}
