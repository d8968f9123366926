#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static _Thread_local char reason[512];

int bare_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    return -1;
}

int bare_fail_with(const char *what, rd_kafka_error_t *error) {
    bare_fail("%s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return -1;
}

const char *bare_error(void) { return reason; }

const char *bare_librdkafka_version(void) { return rd_kafka_version_str(); }

int64_t bare_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t bare_processor_time(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
           ((int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

int64_t bare_peak_memory(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return usage.ru_maxrss;
#else
    return (int64_t)usage.ru_maxrss << 10;
#endif
}

static void report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    bare_client *client = opaque;
    (void)rk;
    client->in_flight--;
    if (message->err) {
        client->failed++;
        client->last_failure = message->err;
    }
    // Where the time of one is taken, its place holds the beginning until here.
    if (message->_private) {
        int64_t *latency = message->_private;
        *latency = bare_now() - *latency;
    }
}

static bare_client *make(
    rd_kafka_type_t type, const char *const *properties, const char *const *topics, int topic_count) {
    char text[512];
    bare_client *client = calloc(1, sizeof(*client));
    rd_kafka_conf_t *configuration = rd_kafka_conf_new();
    // A later value of a name takes the place of an earlier one.
    for (; properties[0]; properties += 2) {
        if (rd_kafka_conf_set(configuration, properties[0], properties[1], text, sizeof(text)) != RD_KAFKA_CONF_OK) {
            bare_fail("%s", text);
            rd_kafka_conf_destroy(configuration);
            free(client);
            return NULL;
        }
    }
    rd_kafka_conf_set_opaque(configuration, client);
    if (type == RD_KAFKA_PRODUCER) rd_kafka_conf_set_dr_msg_cb(configuration, report);
    client->rk = rd_kafka_new(type, configuration, text, sizeof(text));
    if (!client->rk) {
        bare_fail("%s", text);
        rd_kafka_conf_destroy(configuration);
        free(client);
        return NULL;
    }
    client->topics = calloc((size_t)topic_count + 1, sizeof(*client->topics));
    if (type == RD_KAFKA_PRODUCER) {
        client->topic_count = topic_count;
        for (int i = 0; i < topic_count; i++) client->topics[i] = rd_kafka_topic_new(client->rk, topics[i], NULL);
    }
    return client;
}

bare_client *bare_producer_new(const char *const *properties, const char *const *topics, int topic_count) {
    return make(RD_KAFKA_PRODUCER, properties, topics, topic_count);
}

bare_client *bare_consumer_new(const char *const *properties, const char *const *topics, int topic_count) {
    bare_client *client = make(RD_KAFKA_CONSUMER, properties, topics, topic_count);
    if (!client) return NULL;
    rd_kafka_poll_set_consumer(client->rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(topic_count);
    for (int i = 0; i < topic_count; i++) rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(client->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code) {
        bare_fail("subscribing: %s", rd_kafka_err2str(code));
        bare_client_destroy(client);
        return NULL;
    }
    return client;
}

void bare_client_destroy(bare_client *client) {
    if (rd_kafka_type(client->rk) == RD_KAFKA_CONSUMER) rd_kafka_consumer_close(client->rk);
    for (int i = 0; i < client->topic_count; i++) rd_kafka_topic_destroy(client->topics[i]);
    rd_kafka_destroy(client->rk);
    free(client->topics);
    free(client);
}

// Topics, on a cluster with an Admin API.

static int administrate(bare_client *client, void (*ask)(rd_kafka_t *, const char *, int, rd_kafka_queue_t *),
                        const char *topic, int partitions, rd_kafka_resp_err_t allowed) {
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client->rk);
    ask(client->rk, topic, partitions, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 30000);
    int result = 0;
    if (!event) {
        result = bare_fail("%s: no answer within 30 s", topic);
    } else if (rd_kafka_event_error(event)) {
        result = bare_fail("%s: %s", topic, rd_kafka_event_error_string(event));
    } else {
        size_t count = 0;
        const rd_kafka_topic_result_t **results = NULL;
        const rd_kafka_CreateTopics_result_t *created = rd_kafka_event_CreateTopics_result(event);
        const rd_kafka_DeleteTopics_result_t *deleted = rd_kafka_event_DeleteTopics_result(event);
        if (created) results = rd_kafka_CreateTopics_result_topics(created, &count);
        if (deleted) results = rd_kafka_DeleteTopics_result_topics(deleted, &count);
        for (size_t i = 0; i < count; i++) {
            rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
            if (code && code != allowed) result = bare_fail("%s: %s", topic, rd_kafka_err2str(code));
        }
    }
    if (event) rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    return result;
}

static void create(rd_kafka_t *rk, const char *topic, int partitions, rd_kafka_queue_t *queue) {
    char text[256];
    rd_kafka_NewTopic_t *new = rd_kafka_NewTopic_new(topic, partitions, 1, text, sizeof(text));
    rd_kafka_CreateTopics(rk, &new, 1, NULL, queue);
    rd_kafka_NewTopic_destroy(new);
}

static void delete(rd_kafka_t *rk, const char *topic, int partitions, rd_kafka_queue_t *queue) {
    (void)partitions;
    rd_kafka_DeleteTopic_t *old = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(rk, &old, 1, NULL, queue);
    rd_kafka_DeleteTopic_destroy(old);
}

int bare_create_topic(bare_client *client, const char *topic, int partitions) {
    return administrate(client, create, topic, partitions, RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS);
}

int bare_delete_topic(bare_client *client, const char *topic) {
    return administrate(client, delete, topic, 0, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
}
