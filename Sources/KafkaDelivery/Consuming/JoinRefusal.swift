extension KafkaError {
    /// The same error in the words of who has to do something about it, where the group will never let in a member like this one;
    /// nil for any other error.
    func refusalToJoin(_ configuration: KafkaConsumer.Configuration) -> KafkaError? {
        guard configuration.joinsGroup, let joinRefusal else { return nil }
        let strategies = configuration.assignmentStrategies.map(\.rawValue).joined(separator: ", ")
        let why =
            switch joinRefusal {
            case .inconsistentProtocol:
                """
                its members divide partitions in other ways than this consumer's assignmentStrategies (\(strategies)), use \
                the other group protocol, or are no consumers
                """
            case .invalidSessionTimeout:
                """
                its brokers do not allow this sessionTimeout (group.min.session.timeout.ms and \
                group.max.session.timeout.ms are theirs)
                """
            case .invalidGroup: "its brokers do not take the name"
            case .isFull: "it has as many members as its brokers allow (group.max.size)"
            }
        let reason = "the group \(configuration.group) cannot be joined: \(why)"
        return KafkaError(kind, recovery: .fixRequest, reason: reason, code: code)
    }
}
