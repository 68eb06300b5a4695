/* sh8bench: many small blocks, freed in three orders (after what is told of MicroQuill's benchmark of SmartHeap for SMP:
 * small sizes, most of them very small, some freed last-in-first-out, some first-in-first-out, some by other threads).
 *
 * In a pass a worker allocates a group of blocks. Half of them it frees backwards, a quarter in the order in which they
 * were made; the rest it leaves on a table, and takes from there what another thread, or itself, left before, which it
 * frees.
 *
 *     here: 2500 passes of 2000 blocks, 8 to 400 bytes, the smaller half eight times as often; a table of 16 groups
 *
 * Reveals: the short way through malloc and free, for which the other workloads leave little time; caches too small
 * for a burst; free lists whose order is turned over. */
#include "scaling.h"

#include <stdatomic.h>

enum { BLOCKS = 2000, BACKWARDS = 1000, LEFT = 500, PASSES = 2500, TABLE = 16, BYTES_MOST = 400 };

typedef struct group {
    void *blocks[LEFT];
} group;

typedef struct state {
    void *blocks[BLOCKS];
    group own, *to_leave;
} state;

static group laid[TABLE];
static _Atomic(group *) table[TABLE];

static size_t some_bytes(worker *w) {
    const bool small = even(w, 0, 8) != 0;
    return small ? even(w, BLOCK_LEAST, BYTES_MOST / 8) : even(w, BYTES_MOST / 8, BYTES_MOST);
}

static void pass(worker *w, state *s) {
    for (size_t i = 0; i < BLOCKS; i++) s->blocks[i] = make(w, some_bytes(w));
    for (size_t i = 0; i < BACKWARDS; i++) drop(w, s->blocks[BLOCKS - 1 - i]);
    for (size_t i = 0; i < LEFT; i++) s->to_leave->blocks[i] = s->blocks[i];
    for (size_t i = LEFT; i < BLOCKS - BACKWARDS; i++) drop(w, s->blocks[i]);
    s->to_leave = atomic_exchange(&table[even(w, 0, TABLE - 1)], s->to_leave);
    for (size_t i = 0; i < LEFT; i++) drop(w, s->to_leave->blocks[i]);
}

static void prepare(worker *keeper) {
    for (size_t i = 0; i < TABLE; i++) {
        for (size_t j = 0; j < LEFT; j++) laid[i].blocks[j] = make(keeper, some_bytes(keeper));
        table[i] = &laid[i];
    }
}

static void work(worker *w) {
    state *s = w->state;
    const size_t passes = share(PASSES);
    s->to_leave = &s->own;
    for (size_t i = 0; i < passes; i++) pass(w, s);
}

static void clear(worker *keeper) {
    for (size_t i = 0; i < TABLE; i++)
        for (size_t j = 0; j < LEFT; j++) drop(keeper, table[i]->blocks[j]);
}

const workload sh8bench = {"sh8bench", sizeof(state), prepare, work, clear};
