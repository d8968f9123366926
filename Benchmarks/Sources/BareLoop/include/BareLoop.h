// What the library is compared with: librdkafka called from C in the most efficient way it allows, by one thread and
// with nothing around it. Functions return 0, or -1 with the reason in bare_error().

#ifndef BARE_LOOP_H
#define BARE_LOOP_H

#include <stddef.h>
#include <stdint.h>

/// Monotonic nanoseconds.
int64_t bare_now(void);

/// The processor time of the process so far, of user and system together, in nanoseconds.
int64_t bare_processor_time(void);

/// The most memory the process has had, in bytes. On Linux not less than what it was started from had.
int64_t bare_peak_memory(void);

/// Why the last call of this thread failed.
const char *bare_error(void);

/// The version of librdkafka that is loaded.
const char *bare_librdkafka_version(void);

typedef struct bare_client bare_client;

/// The messages that are sent, over and over: one value, and keys in turn.
typedef struct {
    /// Keys of the same length one after the other, and how many.
    const char *keys;
    size_t key_size;
    size_t key_count;
    const char *value;
    size_t value_size;
    /// How many headers each message has: "header-0" and so on, of 16 bytes.
    int header_count;
} bare_messages;

/// A producer or consumer.
///
/// @param properties Name, value, name, value, …, NULL.
/// @param topics Those to send to in turn, or to subscribe to.
bare_client *bare_producer_new(const char *const *properties, const char *const *topics, int topic_count);
bare_client *bare_consumer_new(const char *const *properties, const char *const *topics, int topic_count);

/// Leaves the group, ends all threads, frees everything.
void bare_client_destroy(bare_client *client);

/// Sends `count` messages with at most `window` unconfirmed, and waits for all. A window of 1 awaits each.
///
/// @param latencies Null, or room for count / every of them: from send to confirmation, in nanoseconds.
int bare_send(
    bare_client *client, const bare_messages *messages, int64_t count, int64_t window, int64_t *latencies, int64_t every);

/// Sends `count` messages in batches, and waits for each batch.
int bare_send_batches(bare_client *client, const bare_messages *messages, int64_t count, int64_t batch);

/// Fills a topic evenly: each partition gets count / partitions messages.
int bare_fill(bare_client *client, const bare_messages *messages, int64_t count, int32_t partitions);

typedef struct {
    int64_t received;
    /// Bytes of values, so that nobody can say that they were not looked at.
    int64_t bytes;
    /// The longest time between the end of handling one message and the beginning of the next.
    int64_t longest_gap;
    int64_t last_end;
} bare_received;

/// Receives up to `count` messages, for at most `nanoseconds` of time.
///
/// @param work How long each message is worked on, in nanoseconds, 0 for not at all.
/// @param commit_every After so many messages, what was received is committed, without waiting for it.
/// @param wake_every After so many messages the threads that fetch are woken, 0 for never. librdkafka 2.0.2 looks again at
/// a prefetch queue that was full only when something wakes its thread, at the latest after a second.
int bare_receive(
    bare_client *client, int64_t count, int64_t nanoseconds, int64_t work, int64_t commit_every, int64_t wake_every,
    bare_received *result);

/// Notes that the handling of a message begins, works, and notes its end.
void bare_work(bare_received *result, int64_t work);

/// Sends messages at a steady rate from a thread of its own while it receives them, and measures each one's time from
/// before the call that sends it to after the call that returns it. The first bytes of a value are when it was sent.
int bare_end_to_end(
    bare_client *producer, bare_client *consumer, size_t value_size, int64_t count, int64_t per_second,
    int64_t *latencies);

/// Initialises the transactions of a client that has a transactional.id.
int bare_begin(bare_client *client);

/// Sends `count` messages in transactions of `size`, and takes the time of each.
int bare_transactions(bare_client *client, const bare_messages *messages, int64_t count, int64_t size, int64_t *latencies);

/// Makes a topic on a cluster that has an Admin API, or deletes it.
int bare_create_topic(bare_client *client, const char *topic, int partitions);
int bare_delete_topic(bare_client *client, const char *topic);

#endif
