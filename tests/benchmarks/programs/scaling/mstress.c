/* mstress: threads that come and go, and blocks that outlive them (the workload of that name in Leijen, Zorn and de
 * Moura, "Mimalloc: Free List Sharding in Action", 2019, as it is described there).
 *
 * In every round all workers start a thread; each fills a table with blocks of sizes by powers of two, small ones most
 * often, and then takes steps: it replaces a block, or resizes one, or swaps one against a block on a common table,
 * where another thread put it. In the end of a round a thread frees its table and ends. What lies on the common table
 * stays for the threads of the next round.
 *
 *     published: some tens of rounds, of which some blocks stay alive from one to the next
 *     here: 100 rounds of 30 000 steps, tables of 1000 blocks and a common one of 1000, 16 bytes to 64 KiB; half the
 *     steps replace, an eighth resizes, the rest swap
 *
 * Reveals: how blocks fare that migrate and are resized far from where they were made; what becomes of caches and
 * arenas of threads that ended; large sizes beside small ones. */
#include "scaling.h"

#include <stdatomic.h>

enum { BLOCKS = 1000, COMMON = 1000, ROUNDS = 100, STEPS = 30000, BYTES_LEAST = 16, DOUBLINGS = 11 };

static _Atomic(void *) common[COMMON];

/* Half of all lie in the least doubling, a quarter in the next, and so on. */
static size_t some_bytes(worker *w) {
    const uint64_t random = al_rng_next(&w->rng);
    const size_t least = (size_t)BYTES_LEAST << __builtin_ctzll(random | UINT64_C(1) << DOUBLINGS);
    return least + (size_t)(random >> 32) % least;
}

static void *swapped(worker *w, void *block) { return atomic_exchange(&common[even(w, 0, COMMON - 1)], block); }

static void step(worker *w, void **block) {
    const size_t what = even(w, 0, 7);
    if (what < 4) {
        drop(w, *block);
        *block = make(w, some_bytes(w));
    } else if (what == 4) {
        *block = resize(w, *block, some_bytes(w));
    } else {
        *block = swapped(w, *block);
    }
}

static void *live(void *context) {
    worker *w = context;
    void **blocks = w->state;
    for (size_t i = 0; i < BLOCKS; i++) blocks[i] = make(w, some_bytes(w));
    for (size_t i = 0; i < STEPS; i++) step(w, &blocks[even(w, 0, BLOCKS - 1)]);
    for (size_t i = 0; i < BLOCKS; i++) drop(w, blocks[i]);
    return NULL;
}

static void prepare(worker *keeper) {
    for (size_t i = 0; i < COMMON; i++) common[i] = make(keeper, some_bytes(keeper));
}

static void work(worker *w) {
    const size_t rounds = share(ROUNDS);
    for (size_t i = 0; i < rounds; i++) {
        meet();
        in_new_thread(live, w);
    }
}

static void clear(worker *keeper) {
    for (size_t i = 0; i < COMMON; i++) drop(keeper, common[i]);
}

const workload mstress = {"mstress", BLOCKS * sizeof(void *), prepare, work, clear};
