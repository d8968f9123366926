// What Swift cannot import of the system's threads: `prctl` is variadic, `pthread_setname_np` needs _GNU_SOURCE.

#ifndef DELIVERY_THREADS_SHIM_H
#define DELIVERY_THREADS_SHIM_H

#include <pthread.h>
#include <stdint.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

/// Names the calling thread, as debuggers and `top -H` show it.
static inline void delivery_name_thread(const char *name) {
#ifdef __linux__
    prctl(PR_SET_NAME, name, 0, 0, 0);
#else
    pthread_setname_np(name);
#endif
}

/// The calling thread, never 0; pthread_t is a different type on each system.
static inline uintptr_t delivery_current_thread(void) {
    return (uintptr_t)pthread_self();
}

#endif
