internal import Logging

extension RabbitEvent {
    /// Says it in the log: what a person should look at as a warning, the rest as information. Of a connection that is made again by the
    /// client there is nothing to advise.
    func log(to logger: Logger) {
        switch self {
        case .connected(let host, let generation):
            logger.info("connected", metadata: ["host": "\(host)", "generation": "\(generation)"])
        case .disconnected(let error): logger.warning("the connection ended", metadata: ["error": "\(error.reason)"])
        case .connectionFailed(let error, let delay):
            logger.warning("no connection", metadata: ["error": "\(error.reason)", "retry_after": "\(delay)"])
        case .channelClosed(let error): logger.warning("the broker closed the channel", metadata: ["error": "\(error)"])
        case .blocked(let reason): logger.warning("the broker takes no messages", metadata: ["reason": "\(reason)"])
        case .unblocked: logger.info("the broker takes messages again")
        case .failed(let error): logger.error("the client cannot go on", metadata: ["error": "\(error)"])
        case .redelivery(let queue, let attempt, let delay):
            logger.info(
                "handling failed",
                metadata: ["queue": "\(queue)", "attempt": "\(attempt)", "retry_after": "\(delay)"]
            )
        case .deadLettered(let queue, let exchange, let key):
            logger.info(
                "dead letter",
                metadata: ["queue": "\(queue)", "exchange": "\(exchange)", "routing_key": "\(key)"]
            )
        case .deadLetterFailed(let error):
            logger.warning("a dead letter is not stored yet", metadata: ["error": "\(error)"])
        case .deadLetterRefused(let error):
            logger.error("a dead letter can never be stored", metadata: ["error": "\(error)"])
        case .rejected(let queue): logger.info("rejected", metadata: ["queue": "\(queue)"])
        case .retried(let queue, let attempt, let delay):
            logger.info("waits", metadata: ["queue": "\(queue)", "attempt": "\(attempt)", "delay": "\(delay)"])
        case .contradictingVerdict(let queue):
            logger.warning("a delivery got two verdicts that contradict each other", metadata: ["queue": "\(queue)"])
        }
    }
}
