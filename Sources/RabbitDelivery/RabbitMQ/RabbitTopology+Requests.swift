extension RabbitTopology {
    /// The requests that declare it, in order.
    var requests: [ClientMethod] {
        var requests: [ClientMethod] = exchanges.map { .exchangeDeclare($0, passive: isPassive) }
        requests += queues.map { .queueDeclare($0, passive: isPassive) }
        guard !isPassive else { return requests }
        requests += bindings.map { binding in
            switch binding.destination {
            case .queue: .queueBind(binding)
            case .exchange: .exchangeBind(binding)
            }
        }
        return requests
    }
}
