/* From addresses to what lives there: a hash map from nonzero 64-bit keys to 64-bit values, open addressing with
 * backward shift deletion, so it never degrades however long the trace. For importers and the capture decoder, which
 * meet addresses that are used again after a free. */
#ifndef AL_TRACE_ADDRMAP_H
#define AL_TRACE_ADDRMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct al_addrmap {
    uint64_t *keys; /* 0 = empty; capacity is a power of two, load at most 1/2 */
    int64_t *values;
    size_t capacity, count;
} al_addrmap;

bool al_addrmap_init(al_addrmap *map); /* false: no memory */
void al_addrmap_destroy(al_addrmap *map);

/* Sets key to value. Returns false where memory ran out. *previous is the value it had, or -1. */
bool al_addrmap_put(al_addrmap *map, uint64_t key, int64_t value, int64_t *previous);
int64_t al_addrmap_get(const al_addrmap *map, uint64_t key);  /* -1: not there */
int64_t al_addrmap_take(al_addrmap *map, uint64_t key);       /* removes it; -1: not there */

/* Fetches what a later call for the key will touch first. */
void al_addrmap_prefetch(const al_addrmap *map, uint64_t key);

#endif
