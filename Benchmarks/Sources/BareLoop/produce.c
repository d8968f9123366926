#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const char header_value[] = "0123456789abcdef";
static const char *const header_names[] = {"header-0", "header-1", "header-2", "header-3"};

static rd_kafka_resp_err_t produce(
    bare_client *client, const bare_messages *messages, int64_t index, int32_t partition, int64_t *latency) {
    rd_kafka_topic_t *topic = client->topics[client->topic_count == 1 ? 0 : index % client->topic_count];
    const char *key = messages->keys + (size_t)index % messages->key_count * messages->key_size;
    if (messages->header_count == 0) {
        // The shortest way in that there is.
        if (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, (void *)messages->value, messages->value_size, key,
                             messages->key_size, latency) == 0)
            return RD_KAFKA_RESP_ERR_NO_ERROR;
        return rd_kafka_last_error();
    }
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)messages->header_count);
    for (int i = 0; i < messages->header_count; i++)
        rd_kafka_header_add(headers, header_names[i], 8, header_value, 16);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        client->rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(key, messages->key_size), RD_KAFKA_V_VALUE((void *)messages->value, messages->value_size),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(latency), RD_KAFKA_V_END);
    if (code) rd_kafka_headers_destroy(headers);
    return code;
}

static int wait_until(bare_client *client, int64_t in_flight) {
    while (client->in_flight > in_flight) rd_kafka_poll(client->rk, 1000);
    if (client->failed)
        return bare_fail("%lld sends failed: %s", (long long)client->failed, rd_kafka_err2str(client->last_failure));
    return 0;
}

int bare_send(
    bare_client *client, const bare_messages *messages, int64_t count, int64_t window, int64_t *latencies,
    int64_t every) {
    // Reports are served every so often, not after each call: a window that is full has to be emptied a little anyway.
    int64_t stride = window < 64 ? 1 : 64;
    client->failed = 0;
    for (int64_t i = 0; i < count;) {
        int64_t *latency = latencies && i % every == 0 ? &latencies[i / every] : NULL;
        if (latency) *latency = bare_now();
        rd_kafka_resp_err_t code = produce(client, messages, i, RD_KAFKA_PARTITION_UA, latency);
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            rd_kafka_poll(client->rk, 100);
            continue;
        }
        if (code) return bare_fail("sending: %s", rd_kafka_err2str(code));
        client->in_flight++;
        i++;
        if (client->in_flight >= window) {
            if (wait_until(client, window - 1)) return -1;
        } else if (i % stride == 0) {
            rd_kafka_poll(client->rk, 0);
        }
    }
    return wait_until(client, 0);
}

int bare_send_batches(bare_client *client, const bare_messages *messages, int64_t count, int64_t batch) {
    rd_kafka_message_t *list = calloc((size_t)batch, sizeof(*list));
    int64_t sent = 0;
    int result = 0;
    client->failed = 0;
    while (sent < count && result == 0) {
        int64_t size = count - sent < batch ? count - sent : batch;
        if (messages->header_count == 0 && client->topic_count == 1) {
            for (int64_t i = 0; i < size; i++) {
                list[i].payload = (void *)messages->value;
                list[i].len = messages->value_size;
                list[i].key = (void *)(messages->keys + (size_t)(sent + i) % messages->key_count * messages->key_size);
                list[i].key_len = messages->key_size;
                list[i].err = 0;
            }
            int taken = rd_kafka_produce_batch(
                client->topics[0], RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, list, (int)size);
            client->in_flight += taken;
            if (taken < size) result = bare_fail("a batch was not taken");
        } else {
            for (int64_t i = 0; i < size && result == 0; i++) {
                rd_kafka_resp_err_t code = produce(client, messages, sent + i, RD_KAFKA_PARTITION_UA, NULL);
                if (code) result = bare_fail("sending: %s", rd_kafka_err2str(code));
                else client->in_flight++;
            }
        }
        if (wait_until(client, 0)) result = -1;
        sent += size;
    }
    free(list);
    return result;
}

int bare_fill(bare_client *client, const bare_messages *messages, int64_t count, int32_t partitions) {
    int64_t run = count / partitions / 4;
    if (run > 1000) run = 1000;
    if (run < 1) run = 1;
    client->failed = 0;
    for (int64_t i = 0; i < count;) {
        // Many at a time, so that batches are large.
        int32_t partition = (int32_t)(i / run % partitions);
        rd_kafka_resp_err_t code = produce(client, messages, i, partition, NULL);
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            rd_kafka_poll(client->rk, 100);
            continue;
        }
        if (code) return bare_fail("filling: %s", rd_kafka_err2str(code));
        client->in_flight++;
        i++;
        if (i % 1000 == 0) rd_kafka_poll(client->rk, 0);
    }
    return wait_until(client, 0);
}

int bare_begin(bare_client *client) {
    rd_kafka_error_t *error = rd_kafka_init_transactions(client->rk, 30000);
    return error ? bare_fail_with("initialising transactions", error) : 0;
}

int bare_transactions(
    bare_client *client, const bare_messages *messages, int64_t count, int64_t size, int64_t *latencies) {
    rd_kafka_error_t *error;
    client->failed = 0;
    for (int64_t sent = 0, transaction = 0; sent < count; transaction++) {
        int64_t start = bare_now();
        if ((error = rd_kafka_begin_transaction(client->rk))) return bare_fail_with("begin", error);
        for (int64_t i = 0; i < size && sent < count; i++, sent++) {
            rd_kafka_resp_err_t code = produce(client, messages, sent, RD_KAFKA_PARTITION_UA, NULL);
            if (code) return bare_fail("sending: %s", rd_kafka_err2str(code));
            client->in_flight++;
        }
        // Waits for the reports, and serves them.
        if ((error = rd_kafka_commit_transaction(client->rk, -1))) return bare_fail_with("commit", error);
        if (latencies) latencies[transaction] = bare_now() - start;
    }
    return wait_until(client, 0);
}
