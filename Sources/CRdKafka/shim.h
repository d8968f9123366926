// What Swift cannot import from librdkafka's headers by itself: variadic functions and cast macros.
// No logic belongs here.

#ifndef KAFKA_DELIVERY_SHIM_H
#define KAFKA_DELIVERY_SHIM_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <stdint.h>

_Static_assert(RD_KAFKA_VERSION >= 0x020002ff,
               "KafkaDelivery needs librdkafka 2.0.2 or newer: apt-get install librdkafka-dev, brew install librdkafka");

/// `rd_kafka_producev` rather than `rd_kafka_produceva`, which frees the headers twice on failure (fixed in 2.12.0), and
/// with a topic's handle rather than its name: of a topic that is first named in a send, the partitions are asked for up
/// to a second later (fixed in 2.10.1); making the handle asks at once.
/// What needs neither headers nor a timestamp goes the shorter way of `rd_kafka_produce`.
/// Key and value are copied by librdkafka. `headers` pass to librdkafka on success only.
static inline rd_kafka_resp_err_t kafka_delivery_produce(
    rd_kafka_t *client, rd_kafka_topic_t *topic, int32_t partition,
    const void *key, size_t key_count,
    const void *value, size_t value_count,
    rd_kafka_headers_t *headers, int64_t timestamp, void *opaque) {
    if (headers) {
        return rd_kafka_producev(
            client, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(key, key_count), RD_KAFKA_V_VALUE((void *)value, value_count),
            RD_KAFKA_V_TIMESTAMP(timestamp), RD_KAFKA_V_OPAQUE(opaque),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    }
    if (timestamp) {
        return rd_kafka_producev(
            client, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(key, key_count), RD_KAFKA_V_VALUE((void *)value, value_count),
            RD_KAFKA_V_TIMESTAMP(timestamp), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    }
    if (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, (void *)value, value_count, key, key_count, opaque) == 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    return rd_kafka_last_error();
}

/// One entry of a mock broker's error list: answer the next request of this kind with `error`, after `milliseconds`.
static inline rd_kafka_resp_err_t kafka_delivery_mock_push_error(
    rd_kafka_mock_cluster_t *cluster, int32_t broker, int16_t api_key,
    rd_kafka_resp_err_t error, int milliseconds) {
    return rd_kafka_mock_broker_push_request_error_rtts(cluster, broker, api_key, 1, error, milliseconds);
}

#endif
