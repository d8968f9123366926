// How many blocks of memory the process asks for, in all of its threads and libraries.

#ifndef ALLOCATION_COUNT_H
#define ALLOCATION_COUNT_H

#include <stdbool.h>
#include <stdint.h>

/// Whether this platform can count: where it cannot, the count stays 0 and means nothing.
bool allocation_count_is_possible(void);

/// Starts or stops counting. While it is off, an allocation costs one call more than it would, and nothing else.
void allocation_count_enable(bool is_enabled);

/// malloc, calloc, realloc and aligned allocations since the start of the process, while counting was on.
int64_t allocation_count(void);

#endif
