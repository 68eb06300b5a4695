/* xmalloc: some threads only allocate, and others only free what those made (Lever and Boreham, "malloc() Performance in
 * a Multithreaded Linux Environment", USENIX 2000).
 *
 * Workers go in pairs: the even one fills batches of blocks of random sizes, the odd one frees them. A worker without
 * another one frees its own batches, one after the other.
 *
 *                published runs                   here
 *     threads    as many that allocate as free    the same, in pairs
 *     batches    thousands of blocks              256 blocks, 16 on their way; 10 000 for each thread
 *     bytes      various                          16 to 512, small ones more often
 *
 * Reveals: caches that only fill on one side and are only emptied on the other, and how blocks get home; a design whose
 * threads own their memory pays for every block that another one frees. */
#include "scaling.h"

#include <semaphore.h>

enum { BATCH = 256, ON_THE_WAY = 16, BATCHES = 10000, BYTES_LEAST = 16, BYTES_MOST = 512 };

typedef struct belt {
    sem_t full, empty;
    void *batches[ON_THE_WAY][BATCH];
} belt;

/* The smaller of two, so that small ones are more frequent. */
static size_t some_bytes(worker *w) {
    const size_t one = even(w, BYTES_LEAST, BYTES_MOST), other = even(w, BYTES_LEAST, BYTES_MOST);
    return one < other ? one : other;
}

static void fill(worker *w, void **batch) {
    for (size_t i = 0; i < BATCH; i++) batch[i] = make(w, some_bytes(w));
}

static void free_all(worker *w, void **batch) {
    for (size_t i = 0; i < BATCH; i++) drop(w, batch[i]);
}

static void alone(worker *w, size_t batches) {
    belt *mine = w->state;
    for (size_t i = 0; i < batches + ON_THE_WAY; i++) {
        void **batch = mine->batches[i % ON_THE_WAY];
        if (i >= ON_THE_WAY) free_all(w, batch);
        if (i < batches) fill(w, batch);
    }
}

static void produce(worker *w, belt *to, size_t batches) {
    for (size_t i = 0; i < batches; i++) {
        sem_wait(&to->empty);
        fill(w, to->batches[i % ON_THE_WAY]);
        sem_post(&to->full);
    }
}

static void consume(worker *w, belt *from, size_t batches) {
    for (size_t i = 0; i < batches; i++) {
        sem_wait(&from->full);
        free_all(w, from->batches[i % ON_THE_WAY]);
        sem_post(&from->empty);
    }
}

static void prepare(worker *keeper) {
    (void)keeper;
    for (size_t i = 0; i < threads; i += 2) {
        belt *b = workers[i].state;
        sem_init(&b->full, 0, 0);
        sem_init(&b->empty, 0, ON_THE_WAY);
    }
}

/* Of a pair, either makes as many calls as one that is alone. */
static void work(worker *w) {
    const size_t batches = share(BATCHES), first = w->number & ~(size_t)1;
    belt *ours = workers[first].state;
    if (first + 1 == threads) {
        alone(w, batches);
    } else if (w->number == first) {
        produce(w, ours, 2 * batches);
    } else {
        consume(w, ours, 2 * batches);
    }
}

static void clear(worker *keeper) { (void)keeper; }

const workload xmalloc = {"xmalloc", sizeof(belt), prepare, work, clear};
