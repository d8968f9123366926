#include "BareRabbit.h"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_tcp_socket.h>
#endif

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

static amqp_connection_state_t connect_to(const char *host, int port) {
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    if (socket && amqp_socket_open(socket, host, port) == AMQP_STATUS_OK &&
        amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest").reply_type ==
            AMQP_RESPONSE_NORMAL &&
        amqp_channel_open(connection, 1))
        return connection;
    amqp_destroy_connection(connection);
    return NULL;
}

static char *put16(char *at, uint16_t value) {
    *at++ = (char)(value >> 8);
    *at++ = (char)value;
    return at;
}

static char *put32(char *at, uint32_t value) { return put16(put16(at, (uint16_t)(value >> 16)), (uint16_t)value); }

static char *frame(char *at, char type, uint32_t size) {
    *at++ = type;
    return put32(put16(at, 1), size);
}

/// basic.publish to the default exchange, a header with the delivery mode, and a body.
static char *message(char *at, const char *queue, size_t length, const char *body, int size) {
    at = frame(at, 1, (uint32_t)(9 + length));
    at = put32(at, AMQP_BASIC_PUBLISH_METHOD);
    at = put16(at, 0);
    *at++ = 0;
    *at++ = (char)length;
    memcpy(at, queue, length);
    at += length;
    *at++ = 1;
    *at++ = (char)0xCE;
    at = frame(at, 2, 15);
    at = put32(at, 60u << 16);
    at = put32(put32(at, 0), (uint32_t)size);
    at = put16(at, AMQP_BASIC_DELIVERY_MODE_FLAG);
    *at++ = 2;
    *at++ = (char)0xCE;
    at = frame(at, 3, (uint32_t)size);
    memcpy(at, body, (size_t)size);
    at += size;
    *at++ = (char)0xCE;
    return at;
}

/// Which of `count` messages are confirmed.
struct confirms {
    unsigned char *are_confirmed;
    int count;
    int done;
    uint64_t low;
};

/// Reads what there is, and waits for the first of it.
static int read_confirms(amqp_connection_state_t connection, struct confirms *confirms) {
    struct timeval none = {0, 0};
    struct timeval *wait = NULL;
    amqp_frame_t received;
    for (;;) {
        int status = amqp_simple_wait_frame_noblock(connection, &received, wait);
        if (status == AMQP_STATUS_TIMEOUT) return 0;
        if (status != AMQP_STATUS_OK) return __LINE__;
        wait = &none;
        if (received.frame_type == AMQP_FRAME_METHOD && received.payload.method.id == AMQP_BASIC_ACK_METHOD) {
            amqp_basic_ack_t *ack = received.payload.method.decoded;
            uint64_t first = ack->multiple ? confirms->low : ack->delivery_tag;
            for (uint64_t tag = first; tag <= ack->delivery_tag && tag <= (uint64_t)confirms->count; tag++)
                if (!confirms->are_confirmed[tag]) { confirms->are_confirmed[tag] = 1; confirms->done++; }
            if (ack->multiple) confirms->low = ack->delivery_tag + 1;
        }
        amqp_maybe_release_buffers(connection);
    }
}

static int write_all(int socket, const char *at, const char *end) {
    while (at < end) {
        ssize_t written = send(socket, at, (size_t)(end - at), 0);
        if (written <= 0) return __LINE__;
        at += written;
    }
    return 0;
}

int bare_rabbit_publish(
    const char *host, int port, const char *queue, int count, int window, int size, int encodes_itself) {
    amqp_connection_state_t connection = connect_to(host, port);
    if (!connection) return __LINE__;
    size_t length = strlen(queue);
    char *buffer = malloc((size_t)window * (64 + length + (size_t)size));
    char *body = calloc(1, (size_t)size + 1);
    struct confirms confirms = {calloc((size_t)count + 2, 1), count, 0, 1};
    int failure = 0, sent = 0;
    if (!buffer || !body || !confirms.are_confirmed || !amqp_confirm_select(connection, 1)) failure = __LINE__;
    amqp_bytes_t content = {(size_t)size, body};
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    while (!failure && confirms.done < count) {
        char *end = buffer;
        while (!failure && sent < count && sent - confirms.done < window) {
            if (encodes_itself)
                end = message(end, queue, length, body, size);
            else if (amqp_basic_publish(connection, 1, amqp_empty_bytes, amqp_cstring_bytes(queue), 1, 0, &properties,
                                        content) != AMQP_STATUS_OK)
                failure = __LINE__;
            sent++;
        }
        if (!failure) failure = write_all(amqp_get_sockfd(connection), buffer, end);
        if (!failure) failure = read_confirms(connection, &confirms);
    }
    free(buffer);
    free(body);
    free(confirms.are_confirmed);
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    return failure;
}

int bare_rabbit_consume(const char *host, int port, const char *queue, int count, int prefetch, int batch) {
    amqp_connection_state_t connection = connect_to(host, port);
    if (!connection) return __LINE__;
    int failure = 0;
    if (!amqp_basic_qos(connection, 1, 0, (uint16_t)prefetch, 0) ||
        !amqp_basic_consume(connection, 1, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table))
        failure = __LINE__;
    for (int received = 0; !failure && received < count;) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(connection);
        if (amqp_consume_message(connection, &envelope, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL) {
            failure = __LINE__;
            break;
        }
        received++;
        if (received % batch == 0 || received == count)
            amqp_basic_ack(connection, 1, envelope.delivery_tag, 1);
        amqp_destroy_envelope(&envelope);
    }
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    return failure;
}

int bare_rabbit_purge(const char *host, int port, const char *queue) {
    amqp_connection_state_t connection = connect_to(host, port);
    if (!connection) return __LINE__;
    int failure = amqp_queue_purge(connection, 1, amqp_cstring_bytes(queue)) ? 0 : __LINE__;
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    return failure;
}
