#include "BareLoop.h"

#include <librdkafka/rdkafka.h>

struct bare_client {
    rd_kafka_t *rk;
    rd_kafka_topic_t **topics;
    int topic_count;
    int64_t in_flight;
    int64_t failed;
    rd_kafka_resp_err_t last_failure;
    /// How many of those that were received are not committed.
    int64_t uncommitted;
};

int bare_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int bare_fail_with(const char *what, rd_kafka_error_t *error);
