/// What librdkafka is told, and what is refused before.
extension KafkaConsumer.Configuration {
    /// `max.poll.interval.ms` as it will be: the library has no setting for it, and its thread keeps well within.
    var maximumPollInterval: Duration {
        let given = additionalProperties[RdKafkaProperty.maximumPollInterval].flatMap { Int64($0) } ?? 300_000
        return .milliseconds(max(given, 1))
    }

    /// ``revocationTimeout``, within what the group waits for a member.
    var revocationLimit: Duration { min(revocationTimeout, maximumPollInterval / 3) }

    /// Whether there is a group to commit for.
    var hasGroup: Bool { !group.isEmpty }

    /// Whether the group gives the partitions out.
    var joinsGroup: Bool { partitions.isEmpty }

    func rdKafka() throws(KafkaError) -> RdKafkaConfiguration {
        typealias Property = RdKafkaProperty
        var result = RdKafkaConfiguration()
        try result.setCommon(bootstrapServers: bootstrapServers, clientID: clientID, security: security)
        result.route = route
        try validate()

        // librdkafka assigns nothing to a client without a group, so it gets one that never has a member.
        result.set(Property.group, hasGroup ? group : "kafka-delivery-without-a-group")
        if let groupInstanceID { result.set(Property.groupInstance, groupInstanceID) }
        result.set(Property.automaticCommit, false)
        result.set(Property.automaticOffsetStore, false)
        result.set(Property.offsetReset, autoOffsetReset.rawValue)
        if groupProtocol == .classic {
            result.set(Property.assignmentStrategy, assignmentStrategies.map(\.rawValue).joined(separator: ","))
        } else {
            result.set(Property.groupProtocol, groupProtocol.rawValue)
            if let remoteAssignor { result.set(Property.remoteAssignor, remoteAssignor) }
        }
        if let sessionTimeout {
            try result.set(
                Property.sessionTimeout,
                sessionTimeout,
                in: .milliseconds(1) ... .seconds(3_600),
                as: "sessionTimeout"
            )
        }
        if let heartbeatInterval {
            try result.set(
                Property.heartbeatInterval,
                heartbeatInterval,
                in: .milliseconds(1) ... .seconds(3_600),
                as: "heartbeatInterval"
            )
        }
        result.set(Property.isolation, isolation.rawValue)
        result.set(Property.partitionEnd, true)
        try result.set(
            Property.prefetchMessages,
            prefetch.maximumMessages,
            in: 1...10_000_000,
            as: "prefetch.maximumMessages"
        )
        guard (1 << 10...1 << 30).contains(prefetch.maximumBytes) else {
            throw .invalidConfiguration("prefetch.maximumBytes is \(prefetch.maximumBytes), outside of 1 KiB to 1 GiB")
        }
        result.set(Property.prefetchKilobytes, prefetch.maximumBytes >> 10)
        result.set(Property.fetchPartitionBytes, prefetch.maximumBytes / 2)
        try result.set(
            Property.fetchWait,
            maximumFetchWait,
            in: .zero ... .seconds(300),
            as: "maximumFetchWait"
        )
        try result.set(
            Property.metadataRefresh,
            metadataRefreshInterval,
            in: .milliseconds(10) ... .seconds(3_600),
            as: "metadataRefreshInterval"
        )
        try result.add(additionalProperties, for: .consumer)
        return result
    }

    private func validate() throws(KafkaError) {
        if joinsGroup {
            guard hasGroup else { throw .invalidConfiguration("group is empty") }
            guard !topics.isEmpty else { throw .invalidConfiguration("topics is empty: one or more names are needed") }
            var seen: Set<String> = []
            for topic in topics {
                if let fault = TopicName.fault(ofSubscription: topic) {
                    throw .invalidConfiguration("topics: \(fault)")
                }
                guard seen.insert(topic).inserted else {
                    throw .invalidConfiguration("topics: \"\(topic)\" is in it more than once")
                }
            }
        } else {
            try validatePartitions()
        }
        guard group.isEmpty || !group.allSatisfy(\.isWhitespace) else {
            throw .invalidConfiguration("group is \"\(group)\": a name is needed")
        }
        if let groupInstanceID, groupInstanceID.allSatisfy(\.isWhitespace) {
            throw .invalidConfiguration("groupInstanceID is \"\(groupInstanceID)\": a name is needed, or nil")
        }
        guard !assignmentStrategies.isEmpty else { throw .invalidConfiguration("assignmentStrategies is empty") }
        guard assignmentStrategies.count == 1 || !assignmentStrategies.contains(.cooperativeSticky) else {
            throw .invalidConfiguration("assignmentStrategies: cooperativeSticky cannot be combined with others")
        }
        try validateGroupProtocol(on: .current)
        if case .offset(let offset) = start, offset < 0 {
            throw .invalidConfiguration("start is offset \(offset), less than 0")
        }
        if case .last(let count) = start, count < 0 {
            throw .invalidConfiguration("start is the last \(count) offsets, less than 0")
        }
        guard maximumUnsettledPerPartition >= 1 else {
            throw .invalidConfiguration("maximumUnsettledPerPartition is \(maximumUnsettledPerPartition), less than 1")
        }
        guard maximumUncommitted >= 1 else {
            throw .invalidConfiguration("maximumUncommitted is \(maximumUncommitted), less than 1")
        }
        if let handlerTimeout, handlerTimeout < .milliseconds(10) {
            throw .invalidConfiguration("handlerTimeout is \(handlerTimeout), less than 10 ms")
        }
        guard joinsGroup || stuckHandling == .report else {
            throw .invalidConfiguration(
                "stuckHandling is leaveGroup, and a consumer of named partitions is in no group"
            )
        }
        if maximumCrashes != nil {
            guard hasGroup else {
                throw .invalidConfiguration("maximumCrashes counts beside the group's offsets, and there is no group")
            }
            guard start == .committed else {
                throw .invalidConfiguration(
                    "maximumCrashes counts at the committed offset, and the consumer's start is \(start)"
                )
            }
        }
        guard commitInterval >= .milliseconds(1) else {
            throw .invalidConfiguration("commitInterval is \(commitInterval), less than 1 ms")
        }
        guard revocationTimeout >= .zero, closeTimeout >= .zero else {
            throw .invalidConfiguration("revocationTimeout and closeTimeout cannot be less than zero")
        }
    }

    /// Refuses what contradicts the group's protocol, and a protocol that this librdkafka does not speak.
    func validateGroupProtocol(on librdkafka: LibrdkafkaVersion) throws(KafkaError) {
        guard groupProtocol == .consumer else {
            guard remoteAssignor == nil else {
                throw .invalidConfiguration("remoteAssignor is set: it needs groupProtocol to be consumer")
            }
            return
        }
        guard Quirks(librdkafka).hasConsumerGroupProtocol else {
            throw .invalidConfiguration(
                "groupProtocol is consumer, which needs librdkafka 2.12.0 or newer: this is \(librdkafka)"
            )
        }
        guard joinsGroup else {
            throw .invalidConfiguration("groupProtocol is consumer, and a consumer of named partitions joins no group")
        }
        guard assignmentStrategies == [.cooperativeSticky] else {
            throw .invalidConfiguration(
                "assignmentStrategies is set, and with groupProtocol consumer the coordinator divides: use remoteAssignor"
            )
        }
        guard remoteAssignor?.isEmpty != true else { throw .invalidConfiguration("remoteAssignor is empty") }
        guard sessionTimeout == nil else {
            throw .invalidConfiguration(
                "sessionTimeout is set, and with groupProtocol consumer the brokers decide it, with "
                    + "group.consumer.session.timeout.ms"
            )
        }
        guard heartbeatInterval == nil else {
            throw .invalidConfiguration(
                "heartbeatInterval is set, and with groupProtocol consumer the brokers decide it, with "
                    + "group.consumer.heartbeat.interval.ms"
            )
        }
        for (name, instead) in RdKafkaProperty.classicGroupOnly.sorted(by: { $0.key < $1.key })
        where additionalProperties[name] != nil {
            throw .invalidConfiguration("\(name) is set, and with groupProtocol consumer \(instead)")
        }
    }

    private func validatePartitions() throws(KafkaError) {
        guard topics.isEmpty else {
            throw .invalidConfiguration("topics and partitions are set: it can be either, not both")
        }
        for partition in partitions {
            if let fault = partition.fault { throw .invalidConfiguration("partitions: \(fault)") }
        }
        guard groupInstanceID == nil else {
            throw .invalidConfiguration("groupInstanceID is set, and a consumer of named partitions joins no group")
        }
        if !hasGroup, start == .committed, autoOffsetReset == .failure {
            throw .invalidConfiguration("autoOffsetReset is failure, and without a group nothing is committed")
        }
    }
}
