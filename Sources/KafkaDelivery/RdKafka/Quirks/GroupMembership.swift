/// Where a member stands in its group, as librdkafka's log tells it (`debug=cgrp`), line by line. A value without threads;
/// ``GroupLog`` keeps it.
///
/// The protocol of KIP-848 has other states, and no lines are asked for: then nothing is waited for.
struct GroupMembership {
    /// `Group "billing" changed join state steady -> init (state up)`.
    private var joinState: Substring?
    /// `Group "billing" changed state wait-broker-transport -> up (join-state init)`.
    private var isCoordinatorUp = false
    /// `Group "billing": updating member id "" -> "kafka-delivery-5f…"`.
    private var hasMemberID = false

    /// Whether it does not join, and stays in `init`, because nothing that it reads exists: all its topics were deleted.
    private var hasNothingToRead = false

    /// Takes a line.
    ///
    /// - Returns: Whether it says anything of this.
    mutating func note(_ facility: String, _ text: String) -> Bool {
        switch facility {
        case "CGRPJOINSTATE":
            guard let state = Self.word(afterArrowIn: text) else { return false }
            joinState = state
            hasNothingToRead = false
        case "JOIN":
            // `Group "billing": no matching topics based on 12ms old metadata: next metadata refresh in 299988ms`.
            guard text.contains("\": no matching topics based on ") else { return false }
            hasNothingToRead = true
        case "CGRPSTATE":
            guard let state = Self.word(afterArrowIn: text) else { return false }
            isCoordinatorUp = state == "up"
        case "MEMBERID":
            guard let id = Self.word(afterArrowIn: text) else { return false }
            hasMemberID = id != "\"\"" && id != "\"(not-set)\""
        default:
            return false
        }
        return true
    }

    /// Whether a commit would meet the group's next generation.
    var isJoining: Bool {
        switch joinState {
        case "init", "wait-metadata", "wait-join", "wait-sync": true
        default: false
        }
    }

    /// Whether the coordinator has been asked to let it in, and has not answered: it reads nothing more of the connection until it has.
    var isJoinAsked: Bool { joinState == "wait-join" || joinState == "wait-sync" }

    /// Whether the member is in the middle of nothing: what is assigned may be changed, and that is not taken for the answer to a
    /// rebalance.
    var isSteady: Bool { joinState ?? "steady" == "steady" }

    /// Whether the group would hear of it if the member left now, or has nothing to hear.
    ///
    /// A member that has asked to join and has no id yet is one for the coordinator, and librdkafka takes it for none. One that
    /// has an id and no connection to the coordinator goes without a word. While the join is not answered, neither is a
    /// leave behind it, for which librdkafka waits 5 s. And one that gives partitions back joins again afterwards. An assignment that is not
    /// accepted yet is accepted first: told to leave in that moment, with nothing assigned, librdkafka waits for that for ever, with a busy
    /// thread, and takes no answer any more (`rd_kafka_cgrp_try_terminate`, "waiting for assign call").
    var maySayGoodbye: Bool {
        switch joinState {
        case "wait-join": return false
        // The last two lead to the first, without being asked.
        case "wait-assign-call", "wait-unassign-to-complete", "wait-incr-unassign-to-complete": return false
        case _ where !hasMemberID: return true
        case "wait-unassign-call", "steady": return isCoordinatorUp
        case "init": return isCoordinatorUp && hasNothingToRead
        default: return false
        }
    }

    /// Whether anything can be done that could not before.
    func hasComeOn(since before: GroupMembership) -> Bool {
        before.isJoining && !isJoining || !before.isSteady && isSteady || !before.maySayGoodbye && maySayGoodbye
    }

    private static func word(afterArrowIn text: String) -> Substring? {
        let words = text.split(separator: " ")
        guard let arrow = words.lastIndex(of: "->"), arrow + 1 < words.endIndex else { return nil }
        return words[arrow + 1]
    }
}
