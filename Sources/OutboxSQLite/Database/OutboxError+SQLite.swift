#if SQLite
    internal import GRDB
    internal import OutboxDelivery

    extension OutboxError {
        /// What a database's error means: statements are rolled back with their transaction, so nothing of one that failed is stored.
        init(database error: any Error) {
            if let error = error as? OutboxError {
                self = error
                return
            }
            guard let error = error as? DatabaseError else {
                let kind: Kind = error is CancellationError ? .cancelled : .database
                self.init(
                    kind: kind,
                    persistence: .notPersisted,
                    recovery: .retry,
                    reason: kind == .cancelled ? "the task was cancelled" : "the statement failed: \(type(of: error))"
                )
                return
            }
            let (kind, recovery): (Kind, DeliveryRecovery) =
                switch error.resultCode {
                case .SQLITE_BUSY, .SQLITE_LOCKED: (.unavailable, .retry)
                case .SQLITE_CANTOPEN, .SQLITE_IOERR, .SQLITE_FULL, .SQLITE_NOMEM, .SQLITE_INTERRUPT, .SQLITE_PROTOCOL:
                    (.unavailable, .retry)
                case .SQLITE_ABORT: (.database, .retry)
                case .SQLITE_MISUSE: (.closed, .recreateClient)
                default: (.database, .fixRequest)
                }
            // A COMMIT that could not be written through may or may not be found after a restart.
            let isDoubtful = error.resultCode == .SQLITE_IOERR || error.resultCode == .SQLITE_FULL
            self.init(
                kind: kind,
                persistence: isDoubtful ? .possiblyPersisted : .notPersisted,
                recovery: recovery,
                reason: "SQLite: \(error.message ?? error.resultCode.description)",
                code: "\(error.extendedResultCode.rawValue)"
            )
        }
    }
#endif
