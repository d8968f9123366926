/// Topics that do not exist.
extension ConsumerCore {
    /// How long a broker is waited for, at most, and how long the client is held for one question.
    private static let maximumQuestions = 50
    private static let question = Duration.milliseconds(200)

    /// Reports those of some topics that do not exist, once.
    ///
    /// In the classic protocol members look their topics up, and librdkafka reports what is missing. In the other one the
    /// brokers do, and nothing says why a member has no partitions. Asked on a thread of its own, which waits for brokers.
    func reportMissingTopics(_ topics: [String]) {
        let named = topics.filter { !$0.hasPrefix("^") }
        _ = BlockingThread.start("kafka-topics") { [weak self] in
            for topic in named {
                questions: for _ in 0..<Self.maximumQuestions {
                    guard let self, let client = self.client else { return }
                    do throws(KafkaError) {
                        _ = try client.partitions(of: topic, until: .now.advanced(by: Self.question))
                        break questions
                    } catch {
                        guard error.recovery != .retry else { continue }
                        self.report(error)
                        break questions
                    }
                }
            }
        }
    }
}
