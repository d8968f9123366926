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

    private typealias Stage = PatientInbox.Handling.Stage

    private let stages = [Stage.before, .failed, .returned]

    @Test func aDatabaseThatIsAwayOrBusyIsWaitedForWhereverItIsMet() {
        let errors = [
            error(.unavailable), error(.unavailable, "57P01"), error(.database, "40001"), error(.database, "40P01"),
            error(.database, "53200"), error(.database, "55P03"),
        ]
        for error in errors {
            for stage in stages {
                #expect(PatientInbox.meaning(of: error, stage) == .databaseIsAway, "\(error) \(stage)")
            }
        }
        // Its own statement waits for the row that another member holds, or the server is a standby.
        for error in [
            error(.timedOut), error(.timedOut, "57014"), error(.unavailable, "25P03", .abortTransaction),
            error(.unavailable, "25P04", .abortTransaction), error(.database, "25006", .abortTransaction),
        ] {
            #expect(PatientInbox.meaning(of: error, .before) == .databaseIsAway, "\(error)")
        }
        #expect(PatientInbox.meaning(of: error(.timedOut), .returned) == .databaseIsAway)
    }

    @Test func whatTheHandlersStatementsDoIsTheMessagesFailure() {
        for error in [
            error(.timedOut, "57014"), error(.database, "58000"), error(.database, "25006", .abortTransaction),
            error(.database, "42P01", .fixRequest),
        ] {
            #expect(PatientInbox.meaning(of: error, .failed) == .messageFails, "\(error)")
        }
        // Met by the commit: swallowed by the handler, or found by a constraint or a trigger that was deferred.
        for recovery in [DeliveryRecovery.retry, .fixRequest, .abortTransaction] {
            #expect(PatientInbox.meaning(of: error(.database, "25P02", recovery), .returned) == .messageFails)
        }
        for code in ["23505", "P0001", "42P01", "787"] {
            #expect(PatientInbox.meaning(of: error(.database, code, .fixRequest), .returned) == .messageFails)
        }
        #expect(PatientInbox.meaning(of: error(.timedOut, "57014"), .returned) == .messageFails)
        // A key that the index cannot hold.
        #expect(PatientInbox.meaning(of: error(.database, "54000", .fixRequest), .before) == .messageFails)
        for stage in stages { #expect(PatientInbox.meaning(of: error(.cancelled), stage) == .messageFails) }
    }

    @Test func whatMayBeTheDatabasesOrTheHandlersIsDoubtful() {
        // No answer to the handler's statement in time; the transaction stood still, as when the process was stopped.
        #expect(PatientInbox.meaning(of: error(.timedOut), .failed) == .doubtful)
        for (stage, code) in [(Stage.failed, "25P03"), (.returned, "25P03"), (.failed, "25P04"), (.returned, "25P04")] {
            #expect(PatientInbox.meaning(of: error(.unavailable, code, .abortTransaction), stage) == .doubtful)
        }
    }

    @Test func anInboxWhoseOwnStatementsAreRefusedIsUnusable() {
        // A right, a table or a schema is missing; SQLite's file is read-only, or none of its own; closed.
        for error in [
            error(.database, "42501", .fixRequest), error(.database, "42P01", .fixRequest),
            error(.database, "3F000", .fixRequest), error(.database, "8", .fixRequest),
            error(.database, "26", .fixRequest), error(.closed, nil, .recreateClient),
            error(.schemaVersion, nil, .fixRequest),
        ] {
            #expect(PatientInbox.meaning(of: error, .before) == .inboxIsUnusable, "\(error)")
        }
    }

    @Test(.timeLimit(.minutes(5))) func aHandlersErrorIsThrownAtOnceAndTheDatabasesNot() async throws {
        let calls = Mutex(0)
        let long = error(.timedOut, "57014")
        await #expect(throws: OutboxError.self) {
            try await inbox.receive([]) { handling in
                // Twice in a statement of the inbox's own, and then in the handler.
                let call = calls.withLock { calls in
                    calls += 1
                    return calls
                }
                if call < 3 { throw long }
                try handling.run([]) { throw long }
            }
        }
        #expect(calls.withLock { $0 } == 3)
    }

    @Test(.timeLimit(.minutes(5))) func aHandlerWhoseStatementIsNotAnsweredFailsTheSecondTime() async throws {
        for doubtful in [error(.timedOut), error(.unavailable, "25P03", .abortTransaction)] {
            let calls = Mutex(0)
            let thrown = await #expect(throws: OutboxError.self) {
                try await inbox.receive([]) { handling in
                    calls.withLock { $0 += 1 }
                    try handling.run([]) { throw doubtful }
                }
            }
            #expect(thrown?.kind == doubtful.kind)
            #expect(calls.withLock { $0 } == 2)
        }
    }

    private let inbox = PatientInbox(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
}
