// The same work as the library's, in C over librabbitmq.

#ifndef BARE_RABBIT_H
#define BARE_RABBIT_H

/// Publishes so many persistent, mandatory messages of `size` bytes to a queue, with at most `window` unconfirmed, and waits for all
/// confirmations. Where it `encodes_itself`, frames are encoded by hand and written together, and librabbitmq reads; otherwise
/// each goes through `amqp_basic_publish`.
///
/// Returns 0, or the line that failed.
int bare_rabbit_publish(
    const char *host, int port, const char *queue, int count, int window, int size, int encodes_itself);

/// Consumes so many messages of a queue, and acknowledges every `batch`.
///
/// Returns 0, or the line that failed.
int bare_rabbit_consume(const char *host, int port, const char *queue, int count, int prefetch, int batch);

/// Takes all that is ready out of a queue.
///
/// Returns 0, or the line that failed.
int bare_rabbit_purge(const char *host, int port, const char *queue);

#endif
