/* larson: a server whose requests are served by one thread after another (Larson and Krishnan, "Memory Allocation for
 * Long-Running Server Applications", ISMM 1998).
 *
 * Every worker holds blocks of random sizes. Again and again it takes one at random, frees it, and allocates another in
 * its place; after a while its thread ends, and a new one takes over its blocks. So most of what a thread frees at
 * first was allocated by one that is gone.
 *
 *                          published runs             here
 *     blocks per thread    1000 to 5000               1000
 *     bytes                10 to 100, 8 to 1000 ...   10 to 100
 *     replacements         10 000 and more a life,    10 000 a life, 400 lives
 *                          until a time is over
 *
 * Reveals: locks that all threads share; frees that must find the home of a thread that ended; what is lost with it
 * ("bleeding"), seen as memory that grows with each life; the price of a thread's first and last call. */
#include "scaling.h"

enum { BLOCKS = 1000, BYTES_LEAST = 10, BYTES_MOST = 100, REPLACED = 10000, LIVES = 400 };

static void *live(void *context) {
    worker *w = context;
    void **blocks = w->state;
    for (size_t i = 0; i < REPLACED; i++) {
        const size_t at = even(w, 0, BLOCKS - 1);
        drop(w, blocks[at]);
        blocks[at] = make(w, even(w, BYTES_LEAST, BYTES_MOST));
    }
    return NULL;
}

static void work(worker *w) {
    void **blocks = w->state;
    const size_t lives = share(LIVES);
    for (size_t i = 0; i < BLOCKS; i++) blocks[i] = make(w, even(w, BYTES_LEAST, BYTES_MOST));
    for (size_t i = 0; i < lives; i++) in_new_thread(live, w);
}

static void clear(worker *keeper) {
    for (size_t i = 0; i < threads; i++)
        for (size_t j = 0; j < BLOCKS; j++) drop(keeper, ((void **)workers[i].state)[j]);
}

const workload larson = {"larson", BLOCKS * sizeof(void *), NULL, work, clear};
