/* Names to objects: the rules one by one, then random events against arrays that remember everything. */
#undef NDEBUG
#include "base/rng.h"
#include "trace/identity.h"

#include <assert.h>

typedef struct outcome {
    uint8_t op, problem;
    int64_t object;
    uint32_t thread;
    bool failed;
} outcome;

typedef struct row {
    uint8_t op;
    uint64_t name, old, size;
} row;

static outcome run(al_identity *identity, row r, uint64_t thread_id, bool failed) {
    outcome o = {.op = r.op, .failed = failed};
    uint64_t one = 1;
    int64_t problems = al_identity_run(identity, 1, &o.op, &thread_id, &r.name, &r.old, &r.size, &one, &o.failed,
                                       &o.object, &o.thread, &o.problem);
    assert(problems == (o.problem != AL_PROBLEM_NONE));
    return o;
}

static void expect(al_identity *identity, row r, uint8_t op, int64_t object, bool failed, uint8_t problem) {
    outcome o = run(identity, r, 1, false);
    assert(o.op == op && o.object == object && o.failed == failed && o.problem == problem);
}

enum { M = AL_EVENT_MALLOC, R = AL_EVENT_REALLOC, F = AL_EVENT_FREE, FINE = AL_PROBLEM_NONE };

static void test_rules(void) {
    al_identity id;
    assert(al_identity_init(&id, false));
    expect(&id, (row){M, 0x10, 0, 8}, M, 0, false, FINE);
    expect(&id, (row){M, 0x10, 0, 8}, M, -1, false, AL_PROBLEM_BORN_TWICE);
    expect(&id, (row){M, 0, 0, 8}, M, -1, true, FINE);
    expect(&id, (row){R, 0x20, 0, 5}, M, 1, false, FINE);      /* realloc(NULL, n) */
    expect(&id, (row){R, 0x30, 0x20, 50}, R, 1, false, FINE);  /* moves */
    expect(&id, (row){R, 0x10, 0x30, 50}, R, -1, false, AL_PROBLEM_BORN_TWICE);
    expect(&id, (row){R, 0, 0x30, 90}, R, 1, true, FINE);      /* fails: stays */
    assert(id.live_blocks == 2 && id.live_bytes == 58 && id.peak_bytes == 58);
    expect(&id, (row){R, 0x40, 0x30, 0}, R, 1, false, FINE);   /* ends, though a block came back */
    expect(&id, (row){F, 0x40, 0, 0}, F, -1, false, FINE);     /* which is freed as NULL */
    expect(&id, (row){F, 0x40, 0, 0}, F, -1, false, AL_PROBLEM_UNKNOWN_FREE);
    expect(&id, (row){F, 0, 0, 0}, F, -1, false, FINE);
    expect(&id, (row){M, 0x90, 0, UINT64_MAX}, M, -1, false, AL_PROBLEM_IMPOSSIBLE);
    expect(&id, (row){R, 0x10, 0x10, UINT64_MAX}, R, -1, false, AL_PROBLEM_IMPOSSIBLE);
    expect(&id, (row){R, 0x50, 0x99, 5}, R, -1, false, AL_PROBLEM_UNKNOWN_REALLOC);
    expect(&id, (row){AL_ROW_RENAME, 0x77, 0x10, 0}, AL_ROW_RENAME, -1, false, FINE);
    expect(&id, (row){M, 0x10, 0, 1}, M, 2, false, FINE);
    expect(&id, (row){R, 0x60, 0x77, 3}, R, 0, false, FINE);
    assert(id.live_blocks == 2 && id.live_bytes == 4 && id.objects == 3);
    al_identity_destroy(&id);
}

/* An id whose malloc failed stands for NULL: its free is free(NULL), its realloc a malloc. */
static void test_failed_ids(void) {
    al_identity id;
    assert(al_identity_init(&id, true));
    outcome o = run(&id, (row){M, 5, 0, UINT64_MAX}, 1, true);
    assert(o.failed && o.object == -1);
    expect(&id, (row){F, 5, 0, 0}, F, -1, false, FINE);
    run(&id, (row){M, 5, 0, UINT64_MAX}, 1, true);
    expect(&id, (row){R, 5, 5, 7}, M, 0, false, FINE);
    expect(&id, (row){R, 6, 6, 7}, M, 1, false, FINE); /* unknown, and that is allowed here */
    al_identity_destroy(&id);
}

static void test_threads(void) {
    al_identity id;
    assert(al_identity_init(&id, false));
    row nothing = {F, 0, 0, 0}, exit = {AL_EVENT_THREAD_EXIT, 0, 0, 0};
    assert(run(&id, nothing, 700, false).thread == 0);
    assert(run(&id, nothing, 800, false).thread == 1);
    assert(run(&id, nothing, 700, false).thread == 0);
    assert(run(&id, exit, 700, false).thread == 0);
    assert(run(&id, nothing, 700, false).thread == 2); /* another thread with the same id */
    assert(run(&id, nothing, UINT64_MAX, false).thread == 3);
    al_identity_destroy(&id);
}

enum { NAMES = 500, STEPS = 200000 };

static void test_random(void) {
    static int64_t object[NAMES];
    static uint64_t bytes[NAMES];
    for (int i = 0; i < NAMES; i++) object[i] = -1;
    al_identity id;
    assert(al_identity_init(&id, false));
    al_rng rng = {3};
    int64_t born = 0;
    uint64_t live = 0, peak = 0;
    for (int step = 0; step < STEPS; step++) {
        uint64_t a = al_rng_next(&rng) % NAMES, b = al_rng_next(&rng) % NAMES, size = 1 + al_rng_next(&rng) % 100;
        switch (al_rng_next(&rng) % 3) {
        case 0:
            expect(&id, (row){M, a + 1, 0, size}, M, object[a] < 0 ? born : -1, false,
                   object[a] < 0 ? FINE : AL_PROBLEM_BORN_TWICE);
            if (object[a] >= 0) break;
            object[a] = born++;
            bytes[a] = size;
            live += size;
            break;
        case 1:
            expect(&id, (row){F, a + 1, 0, 0}, F, object[a], false, object[a] < 0 ? AL_PROBLEM_UNKNOWN_FREE : FINE);
            live -= bytes[a];
            object[a] = -1;
            bytes[a] = 0;
            break;
        default: {
            uint8_t problem = object[a] < 0             ? AL_PROBLEM_UNKNOWN_REALLOC
                              : a != b && object[b] >= 0 ? AL_PROBLEM_BORN_TWICE
                                                         : FINE;
            expect(&id, (row){R, b + 1, a + 1, size}, R, problem ? -1 : object[a], false, problem);
            if (problem) break;
            live += size - bytes[a];
            int64_t moved = object[a];
            object[a] = -1;
            bytes[a] = 0;
            object[b] = moved;
            bytes[b] = size;
        }
        }
        peak = live > peak ? live : peak;
        assert(id.live_bytes == live && id.peak_bytes == peak && id.objects == born);
    }
    al_identity_destroy(&id);
}

int main(void) {
    test_rules();
    test_failed_ids();
    test_threads();
    test_random();
    return 0;
}
