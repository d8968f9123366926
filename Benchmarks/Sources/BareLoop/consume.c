#include "internal.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

void bare_work(bare_received *result, int64_t work) {
    int64_t now = bare_now();
    if (result->last_end && now - result->last_end > result->longest_gap) result->longest_gap = now - result->last_end;
    int64_t end = now + work;
    while (now < end) now = bare_now();
    result->last_end = now;
}

int bare_receive(
    bare_client *client, int64_t count, int64_t nanoseconds, int64_t work, int64_t commit_every, int64_t wake_every,
    bare_received *result) {
    int64_t deadline = bare_now() + nanoseconds;
    while (result->received < count) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(client->rk, 100);
        if (!message) {
            if (bare_now() >= deadline) return 0;
            continue;
        }
        if (message->err) {
            int is_end = message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
            if (!is_end) bare_fail("receiving: %s", rd_kafka_message_errstr(message));
            rd_kafka_message_destroy(message);
            if (is_end) continue;
            return -1;
        }
        result->received++;
        result->bytes += (int64_t)message->len;
        if (work) bare_work(result, work);
        rd_kafka_message_destroy(message);
        if (++client->uncommitted >= commit_every) {
            client->uncommitted = 0;
            // What consumer_poll returned is stored to be committed; this does not wait.
            rd_kafka_commit(client->rk, NULL, 1);
        }
        if (wake_every && result->received % wake_every == 0) {
            // Of the calls that wake them the one that neither sends nor waits for anything.
            rd_kafka_error_t *error = rd_kafka_sasl_set_credentials(client->rk, "", "");
            if (error) rd_kafka_error_destroy(error);
        }
        // The clock is not free, and so not read for each message.
        if ((result->received & 255) == 0 && bare_now() >= deadline) return 0;
    }
    return 0;
}

struct pacing {
    bare_client *producer;
    size_t value_size;
    int64_t count;
    int64_t per_second;
    int64_t start;
    int result;
};

static void *send_at_a_steady_rate(void *argument) {
    struct pacing *pacing = argument;
    char value[pacing->value_size];
    memset(value, 'v', sizeof(value));
    for (int64_t i = 0; i < pacing->count; i++) {
        int64_t due = pacing->start + i * 1000000000 / pacing->per_second;
        int64_t wait = due - bare_now();
        if (wait > 0) {
            struct timespec time = {wait / 1000000000, wait % 1000000000};
            nanosleep(&time, NULL);
        }
        int64_t now = bare_now();
        memcpy(value, &now, sizeof(now));
        if (rd_kafka_produce(pacing->producer->topics[0], RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value,
                             sizeof(value), &i, sizeof(i), NULL) != 0) {
            pacing->result = -1;
            return NULL;
        }
        pacing->producer->in_flight++;
        rd_kafka_poll(pacing->producer->rk, 0);
    }
    while (pacing->producer->in_flight > 0) rd_kafka_poll(pacing->producer->rk, 100);
    return NULL;
}

int bare_end_to_end(
    bare_client *producer, bare_client *consumer, size_t value_size, int64_t count, int64_t per_second,
    int64_t *latencies) {
    struct pacing pacing = {producer, value_size, count, per_second, bare_now(), 0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, send_at_a_steady_rate, &pacing) != 0) return bare_fail("no thread");
    int64_t deadline = bare_now() + count * 1000000000 / per_second + 10000000000;
    int64_t received = 0;
    int result = 0;
    while (received < count && result == 0) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->rk, 100);
        int64_t now = bare_now();
        if (!message) {
            if (now >= deadline) result = bare_fail("only %lld messages arrived", (long long)received);
            continue;
        }
        if (!message->err && message->len == value_size) {
            int64_t sent;
            memcpy(&sent, message->payload, sizeof(sent));
            // What is left from the warm-up was sent before.
            if (sent >= pacing.start) latencies[received++] = now - sent;
        }
        rd_kafka_message_destroy(message);
    }
    pthread_join(thread, NULL);
    if (pacing.result) return bare_fail("a send was refused");
    return result;
}
