import DeliveryCore
import Logging
import OutboxDelivery
import Synchronization
import Testing

@testable import OutboxKafka

struct PatientInboxTests {
    private func error(
        _ kind: OutboxError.Kind,
        _ code: String? = nil,
        _ recovery: DeliveryRecovery = .retry
    ) -> OutboxError {
        OutboxError(kind: kind, persistence: .notPersisted, recovery: recovery, reason: "of a test", code: code)
    }

    @Test func aDatabaseThatIsAwayOrBusyIsWaitedForWhereverItIsMet() {
        let errors = [
            error(.unavailable), error(.unavailable, "57P01"), error(.timedOut), error(.database, "40001"),
            error(.database, "40P01"), error(.database, "53200"), error(.database, "55P03"),
        ]
        for error in errors {
            for inHandler in [true, false] {
                #expect(PatientInbox.isTheDatabases(error, inHandler: inHandler), "\(error)")
            }
        }
        // Its own statement waits for the row that another member holds.
        #expect(PatientInbox.isTheDatabases(error(.timedOut, "57014"), inHandler: false))
    }

    @Test func whatTheHandlersStatementsDoIsTheMessagesFailure() {
        for error in [error(.timedOut, "57014"), error(.database, "58000"), error(.unavailable, "25P03")] {
            #expect(!PatientInbox.isTheDatabases(error, inHandler: true), "\(error)")
        }
        // Swallowed by the handler, and met by the commit.
        for recovery in [DeliveryRecovery.retry, .fixRequest, .abortTransaction] {
            #expect(!PatientInbox.isTheDatabases(error(.database, "25P02", recovery), inHandler: false))
        }
        #expect(!PatientInbox.isTheDatabases(error(.database, "23505", .fixRequest), inHandler: false))
        #expect(!PatientInbox.isTheDatabases(error(.cancelled), inHandler: false))
    }

    @Test(.timeLimit(.minutes(5))) func aHandlersErrorIsThrownAtOnceAndTheDatabasesNot() async throws {
        let inbox = PatientInbox(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let calls = Mutex(0)
        let long = error(.timedOut, "57014")
        await #expect(throws: OutboxError.self) {
            try await inbox.receive(nil) { handling in
                // Twice in a statement of the inbox's own, and then in the handler.
                let call = calls.withLock { calls in
                    calls += 1
                    return calls
                }
                if call < 3 { throw long }
                try handling.run { throw long }
            }
        }
        #expect(calls.withLock { $0 } == 3)
    }
}
