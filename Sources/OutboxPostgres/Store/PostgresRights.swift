internal import OutboxDelivery

/// Whether a session may change what a publisher changes. What it could not delete or park it would send again and again, so that is
/// found out before anything is sent: by the statements themselves, with a row that is not there.
struct PostgresRights {
    let outbox: PostgresOutbox.Configuration
    let connection: LibpqConnection

    /// A standby, or a server, role or database with `default_transaction_read_only`.
    func checkMayWrite() async throws(OutboxError) {
        let rows = try await connection.run(OutboxStatement("SELECT current_setting('transaction_read_only')"))
        guard rows.text(0, 0) == "off" else {
            throw OutboxError(
                kind: .unavailable,
                persistence: nil,
                recovery: .retry,
                reason:
                    "PostgreSQL only reads in this session (transaction_read_only): connect to the server that writes, for instance "
                    + "with target_session_attrs=read-write"
            )
        }
    }

    /// Deletes and parks a row that is not there, in each way.
    ///
    /// - Throws: ``OutboxError`` of kind `invalidConfiguration` where the role may not.
    func checkSettling() async throws(OutboxError) {
        var settlement = OutboxSettlement()
        for origin in [OutboxEvent.Origin.outbox, .parked] {
            let event = OutboxEvent(
                id: OutboxEvent.ID(slot: -1, number: 0),
                createdAt: PostgresReading.date(0),
                message: OutboxMessage(topic: "", payload: ""),
                origin: origin
            )
            settlement.accepted.append(event)
            settlement.parked.append(.init(event: event, attempts: 1, reason: "", withFollowers: false))
        }
        let settling = PostgresSettling(table: outbox.table, archives: outbox.archiveDays != nil)
        do throws(OutboxError) {
            try await carryOut(settling.statements(settlement))
        } catch {
            switch error.code {
            case "42501":
                throw Self.refused("grant the publisher's role what it needs (see PostgresOutbox)", error)
            // A person has the table locked for now, which says nothing of rights.
            case "55P03": return
            default: throw error
            }
        }
    }

    /// Reads how far the numbers are, which a publisher does all the time.
    ///
    /// - Throws: ``OutboxError`` of kind `invalidConfiguration` where the role may not: rights on a table are none on its sequence.
    func checkReading(sequence: String) async throws(OutboxError) {
        do throws(OutboxError) {
            try await connection.run(OutboxStatement("SELECT last_value FROM \(sequence)"))
        } catch {
            guard error.code == "42501" else { throw error }
            throw Self.refused("run GRANT SELECT ON SEQUENCE \(sequence) for the publisher's role", error)
        }
    }

    private func carryOut(_ statements: [OutboxStatement]) async throws(OutboxError) {
        do {
            try await connection.withTransaction { transaction in
                try await transaction.query(OutboxStatement("SET LOCAL lock_timeout = '100ms'"))
                for statement in statements { try await transaction.query(statement) }
            }
        } catch let error as OutboxError {
            throw error
        } catch {
            throw LibpqFailure.cancelled
        }
    }

    /// A configuration with which nothing could be deleted.
    static func refused(_ advice: String, _ error: OutboxError) -> OutboxError {
        OutboxError(
            kind: .invalidConfiguration,
            persistence: nil,
            recovery: .fixRequest,
            reason: "\(advice): \(error.reason)",
            code: error.code
        )
    }
}
