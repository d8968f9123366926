// The same work as the library's, in C over librabbitmq.

#ifndef BARE_RABBIT_H
#define BARE_RABBIT_H

/// Publishes so many persistent messages of `size` bytes to a queue, with at most `window` unconfirmed, and waits for all
/// confirmations. Frames are encoded by hand and written together; librabbitmq reads.
///
/// Returns 0, or the line that failed.
int bare_rabbit_publish(const char *host, int port, const char *queue, int count, int window, int size);

/// Consumes so many messages of a queue, and acknowledges every `batch`.
///
/// Returns 0, or the line that failed.
int bare_rabbit_consume(const char *host, int port, const char *queue, int count, int prefetch, int batch);

#endif
