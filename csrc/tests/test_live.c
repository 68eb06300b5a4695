/* Live blocks, their history, the compiler and the checker against plain arrays, through many random rows: sound ones
 * mixed with every contradiction, of which each must be told from the others. */
#undef NDEBUG
#include "base/rng.h"
#include "trace/check.h"
#include "trace/compile.h"
#include "trace/history.h"
#include "trace/ops.h"
#include "trace/stats.h"

#include <assert.h>
#include <stdlib.h>

enum { ROWS = 200000, LIVE = 700 };

typedef struct row {
    uint8_t op, failed;
    uint32_t thread;
    int64_t object, time_ns;
    uint64_t size, count, align;
} row;

static al_events view(const row *r) {
    return (al_events){1, &r->op, &r->thread, &r->object, &r->size, &r->count, &r->align, &r->time_ns, &r->failed};
}

/* The model: every object ever born, with its size; -1 where it is dead. */
static int64_t size_of[ROWS];
static int64_t living[LIVE + 1];
static int64_t born;
static size_t alive;

static row sound_row(al_rng *rng) {
    uint64_t draw = al_rng_next(rng);
    row r = {.count = 1, .time_ns = -1, .size = draw >> 40 & 0xffff, .thread = (uint32_t)(draw & 3)};
    if (alive == 0 || (alive < LIVE && draw % 2)) {
        r.op = draw % 3 ? AL_EVENT_MALLOC : AL_EVENT_ALIGNED;
        r.align = r.op == AL_EVENT_ALIGNED ? 64 : 0;
        r.object = born;
        living[alive++] = born;
        size_of[born++] = (int64_t)r.size;
        return r;
    }
    size_t at = (size_t)(draw >> 8) % alive;
    r.object = living[at];
    r.op = draw % 5 ? AL_EVENT_FREE : AL_EVENT_REALLOC;
    if (r.op == AL_EVENT_REALLOC && r.size > 0) {
        size_of[r.object] = (int64_t)r.size;
    } else {
        r.size = 0;
        size_of[r.object] = -1;
        living[at] = living[--alive];
    }
    return r;
}

/* A row that contradicts what went before, and what it must be called. */
static al_fault unsound_row(al_rng *rng, row *r) {
    uint64_t draw = al_rng_next(rng);
    *r = (row){.count = 1, .time_ns = -1, .size = 8, .thread = 0};
    bool dead = draw % 2 && born > 0;
    r->object = dead ? (int64_t)(draw >> 8) % born : born + (int64_t)(draw >> 8) % 100;
    if (dead && size_of[r->object] >= 0) {
        r->op = AL_EVENT_MALLOC;
        return AL_FAULT_BORN_TWICE;
    }
    r->op = draw >> 7 & 1 ? AL_EVENT_FREE : AL_EVENT_REALLOC;
    if (r->op == AL_EVENT_FREE) return dead ? AL_FAULT_DOUBLE_FREE : AL_FAULT_UNKNOWN_FREE;
    r->failed = draw >> 6 & 1;
    return dead ? AL_FAULT_REALLOC_DEAD : AL_FAULT_REALLOC_UNKNOWN;
}

static void assert_refused(al_compiler *compiler, al_checker *checker, al_stats *stats, al_rng *rng) {
    row bad;
    al_fault fault = unsound_row(rng, &bad);
    al_events events = view(&bad);
    size_t at;
    assert(al_compiler_add(compiler, &events, &at) == fault && at == 0);
    assert(al_stats_add(stats, &events, &at) == fault && at == 0);
    al_finding finding;
    assert(al_checker_add(checker, &events, &finding, 1));
    assert(checker->found == 1 && finding.fault == fault && finding.row == 0);
}

/* The greatest number has none above it: a birth of it is refused, and later ones are told as before. */
static void check_greatest_object(void) {
    al_live live;
    uint32_t slot;
    assert(al_live_init(&live));
    assert(al_live_birth(&live, 3, 8, &slot) == AL_FAULT_NONE);
    assert(al_live_birth(&live, INT64_MAX, 8, &slot) == AL_FAULT_BORN_TWICE);
    assert(al_live_birth(&live, 3, 8, &slot) == AL_FAULT_BORN_TWICE);
    al_live_destroy(&live);
}

int main(void) {
    check_greatest_object();
    al_compiler compiler;
    al_checker checker;
    al_stats stats;
    assert(al_compiler_init(&compiler, false) && al_checker_init(&checker) && al_stats_init(&stats));
    al_rng rng = {7};
    for (size_t i = 0; i < ROWS; i++) {
        if (i % 100 == 99) {
            assert_refused(&compiler, &checker, &stats, &rng);
            continue;
        }
        row good = sound_row(&rng);
        al_events events = view(&good);
        size_t at;
        al_finding finding;
        assert(al_compiler_add(&compiler, &events, &at) == AL_FAULT_NONE);
        assert(al_stats_add(&stats, &events, &at) == AL_FAULT_NONE);
        assert(al_checker_add(&checker, &events, &finding, 1) && checker.found == 0);
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < alive; i++) sum += (uint64_t)size_of[living[i]];
    assert(compiler.live.count == alive && compiler.live.sum == sum);
    assert(stats.history.live.count == alive && stats.history.live.sum == sum);
    assert(compiler.live.used <= LIVE + 1 && compiler.live.next == born);
    assert(stats.peak_bytes == compiler.peak_live_bytes);
    for (size_t i = 0; i < alive; i++) {
        uint32_t slot;
        assert(al_live_find(&stats.history.live, living[i], &slot) == AL_FAULT_NONE);
        assert(stats.history.blocks[slot].object == living[i]);
        assert(stats.history.live.bytes[slot] == (uint64_t)size_of[living[i]]);
    }
    al_stats_finish(&stats);

    /* Walk the operations as the loop does: a slot is full exactly between its birth and its death. */
    size_t count = compiler.count;
    al_op *entries = al_compiler_finish(&compiler);
    assert(entries != NULL && entries[count].kind == AL_OP_END && entries[count + AL_OPS_PAD - 1].kind == AL_OP_END);
    static uint64_t held[LIVE + 1];
    static bool full[LIVE + 1];
    for (size_t i = 0; i < count; i++) {
        const al_op *op = &entries[i];
        bool birth = op->kind == AL_OP_MALLOC || op->kind == AL_OP_ALIGNED;
        assert(op->slot > 0 && full[op->slot] != birth);
        if (op->kind == AL_OP_FREE || op->kind == AL_OP_REALLOC_ZERO) assert(op->size == held[op->slot]);
        if (op->kind == AL_OP_REALLOC) {
            assert(entries[++i].kind == AL_OP_OPERAND && entries[i].size == held[op->slot]);
        }
        full[op->slot] = birth || op->kind == AL_OP_REALLOC;
        held[op->slot] = op->size;
    }
    al_entries_free(entries);
    al_compiler_destroy(&compiler);
    al_checker_destroy(&checker);
    al_stats_destroy(&stats);
    return 0;
}
