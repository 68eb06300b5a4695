/* What the workloads of scaling share: workers that begin at once, blocks that are known again, and what is counted.
 *
 * Every worker's work is decided by its number alone: what it asks for comes from a generator seeded with it, and the
 * clock is asked before and after, never meanwhile. What the harness itself needs is mapped before the clock starts.
 *
 * A block begins with its size and a word mixed from size and address, and ends with the last byte of that word:
 *
 *     | size, 4 bytes | mixed, 4 bytes | ...  not written ...  | mixed >> 24, 1 byte |      at least 8 bytes
 *
 * so blocks that overlap, move, or shrink are noticed when they are freed, by whoever frees them. */
#ifndef SCALING_H
#define SCALING_H

#include "base/rng.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { THREADS_MOST = 512, LINES = 128, BLOCK_LEAST = 8, BLOCK_MOST = 1 << 16 };

typedef struct worker {
    alignas(LINES) al_rng rng;
    size_t number;
    uint64_t operations, faults;
    double began, ended;
    void *state;
    pthread_t thread;
} worker;

/* prepare: before the clock starts, what is there already; clear: after it stopped, frees what is left. Of a worker that
 * main lends for it, which counts faults alone. */
typedef struct workload {
    const char *name;
    size_t state_bytes;
    void (*prepare)(worker *w);
    void (*work)(worker *w);
    void (*clear)(worker *w);
} workload;

extern const workload larson, mstress, xmalloc, sh8bench, cache_scratch, cache_thrash;

extern worker workers[THREADS_MOST];
extern size_t threads;

/* So many in a run of 100 %; at least one. */
size_t share(size_t usual);

/* All workers wait for each other. */
void meet(void);

/* Runs it in a thread of its own and waits for its end. */
void in_new_thread(void *(*body)(void *), worker *w);

_Noreturn void give_up(const char *what);

static inline uint64_t mark_of(const void *block, uint32_t bytes) {
    const uint64_t mixed = ((uintptr_t)block ^ bytes) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return mixed << 32 | bytes;
}

static inline void mark(void *block, size_t bytes) {
    const uint64_t marked = mark_of(block, (uint32_t)bytes);
    *(uint64_t *)block = marked;
    ((unsigned char *)block)[bytes - 1] = (unsigned char)(marked >> 56);
}

/* The size that the block says it has; counts a fault where it is not as it was marked. */
static inline size_t check(worker *w, const void *block) {
    const uint64_t marked = *(const uint64_t *)block;
    const size_t bytes = (uint32_t)marked;
    if (marked != mark_of(block, (uint32_t)bytes) || ((const unsigned char *)block)[bytes - 1] != marked >> 56)
        w->faults++;
    return bytes;
}

static inline void *make(worker *w, size_t bytes) {
    void *block = malloc(bytes);
    if (block == NULL) give_up("malloc");
    mark(block, bytes);
    w->operations++;
    return block;
}

static inline void *resize(worker *w, void *block, size_t bytes) {
    const uint64_t marked = *(uint64_t *)block;
    const size_t before = check(w, block);
    void *moved = realloc(block, bytes);
    if (moved == NULL) give_up("realloc");
    if (*(uint64_t *)moved != marked) w->faults++;
    if (before <= bytes && ((unsigned char *)moved)[before - 1] != marked >> 56) w->faults++;
    mark(moved, bytes);
    w->operations++;
    return moved;
}

static inline void drop(worker *w, void *block) {
    check(w, block);
    free(block);
    w->operations++;
}

/* Bytes between `least` and `most`, each as likely. */
static inline size_t even(worker *w, size_t least, size_t most) {
    return least + (size_t)((al_rng_next(&w->rng) >> 32) * (most - least + 1) >> 32);
}

#endif
