/* Every pass on every allocator, over a random trace of all kinds of operations, of threads that come and go, made by
 * hand. */
#include "allocators/heap.h"
#include "base/check.h"
#include "base/rng.h"
#include "replay/inprocess.h"

#include <stdlib.h>
#include <string.h>

enum { OPERATIONS = 4000, SLOTS = 100, THREADS = 5, ENTRIES_MAX = 2 * OPERATIONS + SLOTS + AL_OPS_PAD };

static struct {
    al_ops_head head;
    al_op entries[ENTRIES_MAX];
} trace = {.head = {.magic = AL_OPS_MAGIC, .slots = SLOTS + 1}};

static uint64_t live, sizes[SLOTS + 1];
static int held[SLOTS + 1];

static void add(al_op_kind kind, uint32_t slot, uint64_t size, uint8_t align_log2, al_op_kind original) {
    trace.entries[trace.head.entries++] = (al_op){
        .slot = slot, .kind = (uint8_t)kind, .align_log2 = align_log2, .original = (uint8_t)original, .size = size};
    if (kind <= AL_OP_FAILED) trace.head.operations++;
}

static void give(uint32_t slot, uint64_t size) {
    live += size - (held[slot] ? sizes[slot] : 0);
    held[slot] = 1;
    sizes[slot] = size;
    if (live <= trace.head.peak_live_bytes) return;
    trace.head.peak_live_bytes = live;
    trace.head.peak_live_op = trace.head.operations - 1;
}

static void take(uint32_t slot) {
    live -= sizes[slot];
    held[slot] = 0;
}

static void add_random(al_rng *rng) {
    static const al_op_kind births[] = {AL_OP_MALLOC, AL_OP_CALLOC, AL_OP_ALIGNED};
    uint32_t slot = 1 + (uint32_t)(al_rng_next(rng) % SLOTS);
    uint64_t size = al_rng_next(rng) % (UINT64_C(1) << (al_rng_next(rng) % 18)), what = al_rng_next(rng) % 16;
    if (!held[slot]) {
        add(births[al_rng_next(rng) % 3], slot, size, (uint8_t)(al_rng_next(rng) % 14), AL_OP_MALLOC);
        give(slot, size);
    } else if (what < 6) {
        add(AL_OP_REALLOC, slot, size + 1, 0, AL_OP_MALLOC);
        add(AL_OP_OPERAND, 0, sizes[slot], 0, AL_OP_MALLOC);
        give(slot, size + 1);
    } else if (what == 6) {
        add(AL_OP_FAILED, slot, SIZE_MAX / 2 + 2, 0, AL_OP_REALLOC);
        add(AL_OP_OPERAND, 0, sizes[slot], 0, AL_OP_MALLOC);
        add(AL_OP_FAILED, 0, SIZE_MAX, 0, AL_OP_CALLOC);
        add(AL_OP_FAILED, 0, 100, 3, AL_OP_ALIGNED);
        add(AL_OP_TICK, 0, 5000000, 0, AL_OP_MALLOC);
        add(AL_OP_FREE, 0, 0, 0, AL_OP_MALLOC);
        add(AL_OP_EXIT, 0, al_rng_next(rng) % THREADS, 0, AL_OP_MALLOC);
        add(AL_OP_THREAD, 0, al_rng_next(rng) % THREADS, 0, AL_OP_MALLOC);
    } else {
        add(what == 7 ? AL_OP_REALLOC_ZERO : AL_OP_FREE, slot, sizes[slot], 0, AL_OP_MALLOC);
        take(slot);
    }
}

static void make_trace(void) {
    al_rng rng = {7};
    while (trace.head.operations < OPERATIONS) add_random(&rng);
    for (int i = 0; i < AL_OPS_PAD; i++) trace.entries[trace.head.entries + (uint64_t)i].kind = AL_OP_END;
}

static char *run(const char *allocator, al_pass pass, bool touch) {
    al_job job = {.head = &trace.head, .entries = trace.entries, .entry_room = trace.head.entries + AL_OPS_PAD,
                  .pass = pass, .touch = touch, .samples = 50, .warm_passes = 2};
    size_t room = al_job_text_bytes(&job);
    char *text = calloc(room + 1, 1);
    al_check(text != NULL, "no memory");
    al_check(al_replay_in_process(&job, allocator, "", text) <= room, "the text fits");
    al_check(strstr(text, "trouble") == NULL, "no trouble");
    return text;
}

static void holds(char *text, const char *line) {
    al_check(strstr(text, line) != NULL, line);
    free(text);
}

int main(void) {
    make_trace();
    for (const al_allocator *const *a = al_allocators; *a != NULL; a++) {
        holds(run((*a)->name, AL_PASS_VERIFY, true), "verified 1");
        holds(run((*a)->name, AL_PASS_CALLS, true), "calls_brk");
        holds(run((*a)->name, AL_PASS_MEMORY, false), "drained_live 0");
        holds(run((*a)->name, AL_PASS_TIME, true), "pass_ns");
    }
    al_op *last = &trace.entries[trace.head.entries - 1];
    last->slot = SLOTS + 1;
    al_job job = {.head = &trace.head, .entries = trace.entries, .entry_room = trace.head.entries + AL_OPS_PAD};
    al_check(!al_job_sound(&job), "a slot outside the table is refused");
    return 0;
}
