/* cache-scratch and cache-thrash: threads that write to small blocks of their own (Berger, McKinley, Blumofe and Wilson,
 * "Hoard: A Scalable Memory Allocator for Multithreaded Applications", ASPLOS 2000).
 *
 * A worker allocates a block, writes to it many times, frees it, and so on. In cache-scratch it begins with a block that
 * main made for it beside those of the others, and frees that one first.
 *
 *     published and here: blocks of 8 bytes; many writes to each, here 1000, and 250 000 blocks
 *
 * Reveals: false sharing. An allocator that serves several threads out of one cache line (cache-thrash, active), or
 * that lets a thread keep what was freed beside another one's (cache-scratch, passive), is many times as slow with two
 * threads as with one; another one's threads do not know of each other. Few calls, many writes: nothing else counts. */
#include "scaling.h"

enum { BYTES = 8, WRITES = 1000, BLOCKS = 250000 };

static void *given[THREADS_MOST];

static void thrash(worker *w) {
    const size_t blocks = share(BLOCKS);
    for (size_t i = 0; i < blocks; i++) {
        volatile uint64_t *block = make(w, BYTES);
        for (size_t j = 0; j < WRITES; j++) *block += j;
        *block -= (uint64_t)WRITES * (WRITES - 1) / 2;
        drop(w, (void *)block);
    }
}

static void scratch(worker *w) {
    drop(w, given[w->number]);
    thrash(w);
}

static void give(worker *keeper) {
    for (size_t i = 0; i < threads; i++) given[i] = make(keeper, BYTES);
}

static void nothing(worker *keeper) { (void)keeper; }

const workload cache_scratch = {"cache-scratch", 0, give, scratch, nothing};
const workload cache_thrash = {"cache-thrash", 0, NULL, thrash, nothing};
