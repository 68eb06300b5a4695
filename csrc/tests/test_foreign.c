/* The two binary formats on random bytes: whatever comes, nothing outside of it is read, and the reader ends. */
#undef NDEBUG
#include "base/rng.h"
#include "trace/tracefile.h"
#include "trace/workload.h"

#include <assert.h>
#include <stdlib.h>

enum { ROWS = 16, ROUNDS = 40000, MOST_BYTES = 80 };

static uint8_t kind[ROWS];
static uint64_t where[ROWS], columns[AL_COLUMNS * ROWS];

static al_import_rows empty_rows(void) {
    return (al_import_rows){.capacity = ROWS, .kind = kind, .where = where, .columns = columns};
}

/* Small bytes are opcodes, tags and lengths; a few great ones are parts of long numbers. */
static uint8_t *random_bytes(al_rng *rng, size_t *bytes) {
    *bytes = 1 + al_rng_next(rng) % MOST_BYTES;
    uint8_t *data = malloc(*bytes);
    assert(data != NULL);
    for (size_t i = 0; i < *bytes; i++) {
        uint64_t draw = al_rng_next(rng) >> 20;
        data[i] = (uint8_t)(draw % 8 == 0 ? draw >> 8 : (draw >> 8) % 17);
    }
    return data;
}

static void test_tracefile(void) {
    al_rng rng = {11};
    for (int round = 0; round < ROUNDS; round++) {
        size_t bytes, consumed = 0, done = 0;
        uint8_t *data = random_bytes(&rng, &bytes);
        do {
            al_import_rows rows = empty_rows();
            enum al_tracefile_fault fault = al_tracefile_scan(data + done, bytes - done, done, &rows, &consumed);
            done += consumed;
            assert(done <= bytes && rows.count <= ROWS);
            if (fault != AL_TRACEFILE_FINE) break;
        } while (consumed > 0);
        free(data);
    }
}

/* A head that fits, so that the scripts are reached: ALLOC_PTRS 9, ALLOC_SYNCS 5, two threads, DONE. */
static void test_workload(void) {
    al_rng rng = {12};
    for (int round = 0; round < ROUNDS; round++) {
        size_t bytes;
        uint8_t *data = random_bytes(&rng, &bytes);
        const uint8_t head[] = {8, 9, 9, 5, 11, 9, 11, (uint8_t)(9 + round % 20), 1};
        for (size_t i = 0; i < sizeof head && i < bytes && round % 4; i++) data[i] = head[i];
        al_workload workload;
        enum al_workload_fault fault = al_workload_open(&workload, data, bytes, 4096);
        uint64_t total = 0;
        while (fault == AL_WORKLOAD_FINE) {
            al_import_rows rows = empty_rows();
            fault = al_workload_run(&workload, &rows);
            total += rows.count;
            if (rows.count == 0) break;
        }
        assert(total <= bytes * bytes && (fault == AL_WORKLOAD_FINE || workload.fault_at <= bytes));
        al_workload_destroy(&workload);
        free(data);
    }
}

int main(void) {
    test_tracefile();
    test_workload();
    return 0;
}
