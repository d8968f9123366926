internal import CRdKafka

/// An idempotent producer's first message.
extension RdKafkaClient {
    /// How long one question waits, for a broker that is connected and then for its answer. One that comes later helps too.
    private static let attempt = Duration.milliseconds(50)
    private static let maximumAttempts = 40

    /// Makes an idempotent producer ask for its producer id as soon as there is a broker that can be asked.
    ///
    /// Without an id nothing is sent. librdkafka asks for one whenever metadata arrive, where a broker is connected, and else
    /// every 500 ms. Since 2.10.0 none is connected when the first metadata arrive (``Quirks/forgetsBootstrapServers``),
    /// so that the first message takes half a second. Two answers are needed: the first says where the brokers are, and the
    /// second comes from one of those. The question is for brokers and known topics, creates nothing, and waits on a thread
    /// of its own, for two seconds in all: what takes longer to connect is helped by librdkafka's own 500 ms.
    func hastenProducerID() {
        guard Quirks.current.forgetsBootstrapServers else { return }
        _ = BlockingThread.start("kafka-first") { [weak self] in
            var answers = 0
            for _ in 0..<Self.maximumAttempts where answers < 2 {
                // Held for one question only, so that a producer that is dropped meanwhile is destroyed.
                guard let client = self else { return }
                if client.askForBrokers() { answers += 1 }
            }
        }
    }

    /// Blocks until a broker has answered, or for the time of an attempt.
    private func askForBrokers() -> Bool {
        var answer: UnsafePointer<rd_kafka_metadata>?
        let code = rd_kafka_metadata(raw, 0, nil, &answer, Self.attempt.milliseconds)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let answer else { return false }
        rd_kafka_metadata_destroy(answer)
        return true
    }
}
