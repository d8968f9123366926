internal import KafkaDelivery

/// Dead letters against the messages that they name.
extension HistoryIndex {
    func deadLetterAnomalies() -> [Anomaly] {
        records.compactMap { record in
            guard case .deadLetter(let original, let position, let value) = record.event else { return nil }
            func report(_ what: String) -> Anomaly {
                Anomaly(.deadLetterWithoutOriginal, original, "the dead letter at \(position) \(what)")
            }
            guard let message = messages[original] else {
                return report("names \(original), where no message is known")
            }
            guard message.values.isEmpty || message.values.contains(value) else {
                return report("has the value \"\(value)\", and \(original) has \(message.values.sorted())")
            }
            guard message.failed != nil else { return report("is of \(original), whose handling did not fail") }
            return nil
        }
    }
}
