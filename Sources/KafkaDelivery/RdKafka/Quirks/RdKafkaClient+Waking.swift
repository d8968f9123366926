internal import CRdKafka

extension RdKafkaClient {
    /// Makes every broker thread look at once at what it has to do.
    ///
    /// A full prefetch queue that has been emptied is otherwise looked at again only when its broker thread happens to
    /// wake, up to a second later on 2.0.2. Of the calls that wake those threads, setting the SASL credentials is the
    /// one that waits for nothing and sends nothing; they are set to what they are. Newer versions have
    /// `fetch.queue.backoff.ms` (``Quirks/hasFetchQueueBackoff``), and are served sooner by this all the same.
    func wakeBrokerThreads() {
        if let error = rd_kafka_sasl_set_credentials(raw, credentials.userName, credentials.password) {
            rd_kafka_error_destroy(error)
        }
    }
}
