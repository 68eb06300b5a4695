#include "trace/compile.h"

#include "base/align.h"
#include "trace/ops.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ENTRIES = 4096, ENTRIES_PER_ROW = 4 /* a tick, a thread, a realloc and its operand */, AHEAD = 16 };

bool al_compiler_init(al_compiler *compiler, bool threads) {
    *compiler = (al_compiler){.clock = -1, .threads = threads, .thread = -1, .capacity = FIRST_ENTRIES};
    compiler->entries = malloc(FIRST_ENTRIES * sizeof *compiler->entries);
    if (compiler->entries != NULL && al_live_init(&compiler->live) && al_addrmap_init(&compiler->numbers)) return true;
    al_compiler_destroy(compiler);
    return false;
}

void al_compiler_destroy(al_compiler *compiler) {
    al_live_destroy(&compiler->live);
    al_addrmap_destroy(&compiler->numbers);
    free(compiler->entries);
    *compiler = (al_compiler){0};
}

static bool reserve(al_compiler *compiler, size_t more) {
    size_t needed = compiler->count + more;
    if (needed <= compiler->capacity) return true;
    size_t capacity = al_max(needed, compiler->capacity + compiler->capacity / 2);
    al_op *larger = realloc(compiler->entries, capacity * sizeof *larger);
    if (larger == NULL) return false;
    compiler->entries = larger;
    compiler->capacity = capacity;
    return true;
}

static inline void put(al_compiler *compiler, al_op op) { compiler->entries[compiler->count++] = op; }

static uint8_t align_log2(uint64_t align) {
    if (align == 0) return 0;
    return (uint8_t)(align > UINT64_C(1) << 63 ? 63 : al_log2_ceil(align));
}

/* The kind of operation that a row with a call asks for. */
static uint8_t kind_of(const al_events *events, size_t i) {
    switch (events->op[i]) {
    case AL_EVENT_CALLOC: return AL_OP_CALLOC;
    case AL_EVENT_ALIGNED: return AL_OP_ALIGNED;
    case AL_EVENT_REALLOC: return events->object[i] < 0 ? AL_OP_MALLOC : AL_OP_REALLOC;
    case AL_EVENT_FREE: return AL_OP_FREE;
    default: return AL_OP_MALLOC;
    }
}

static void tick(al_compiler *compiler, int64_t now) {
    if (now < 0) return;
    if (compiler->clock < 0) compiler->clock = now;
    if (now - compiler->clock < AL_TICK_NS) return;
    put(compiler, (al_op){.kind = AL_OP_TICK, .size = (uint64_t)(now - compiler->clock)});
    compiler->clock = now;
}

/* Its number, or -1 without memory for it. */
static int64_t number_of(al_compiler *compiler, uint32_t thread) {
    const uint64_t key = (uint64_t)thread + 1;
    int64_t number = al_addrmap_get(&compiler->numbers, key);
    if (number >= 0) return number;
    number = (int64_t)compiler->numbers.count;
    return al_addrmap_put(&compiler->numbers, key, number, &(int64_t){0}) ? number : -1;
}

static bool say_thread(al_compiler *compiler, uint32_t thread, bool exits) {
    if (!compiler->threads || (compiler->thread == thread && !exits)) return true;
    int64_t number = number_of(compiler, thread);
    if (number < 0) return false;
    if (compiler->thread != thread) put(compiler, (al_op){.kind = AL_OP_THREAD, .size = (uint64_t)number});
    if (exits) put(compiler, (al_op){.kind = AL_OP_EXIT, .size = (uint64_t)number});
    compiler->thread = exits ? -1 : (int64_t)thread;
    return true;
}

/* A call without effect on the live blocks: it failed, or it is free(NULL). A realloc that failed names its block. */
static al_fault add_call(al_compiler *compiler, const al_events *events, size_t i) {
    uint8_t kind = kind_of(events, i);
    if (kind == AL_OP_FREE) {
        put(compiler, (al_op){.kind = AL_OP_FREE});
        return AL_FAULT_NONE;
    }
    al_op op = {.kind = AL_OP_FAILED, .original = kind, .size = al_event_bytes(events, i)};
    if (kind == AL_OP_ALIGNED) op.align_log2 = align_log2(events->align[i]);
    if (kind != AL_OP_REALLOC) {
        put(compiler, op);
        return AL_FAULT_NONE;
    }
    al_fault fault = al_live_find(&compiler->live, events->object[i], &op.slot);
    if (fault != AL_FAULT_NONE) return fault;
    put(compiler, op);
    put(compiler, (al_op){.kind = AL_OP_OPERAND, .slot = op.slot, .size = compiler->live.bytes[op.slot]});
    return AL_FAULT_NONE;
}

static al_fault add_birth(al_compiler *compiler, const al_events *events, size_t i) {
    al_op op = {.kind = kind_of(events, i), .size = al_event_bytes(events, i)};
    if (op.kind == AL_OP_ALIGNED) op.align_log2 = align_log2(events->align[i]);
    if (op.size > PTRDIFF_MAX) return AL_FAULT_IMPOSSIBLE_SIZE;
    al_fault fault = al_live_birth(&compiler->live, events->object[i], op.size, &op.slot);
    if (fault != AL_FAULT_NONE) return fault;
    put(compiler, op);
    compiler->largest = al_max(compiler->largest, op.size);
    return AL_FAULT_NONE;
}

static al_fault add_resize(al_compiler *compiler, const al_events *events, size_t i) {
    al_op op = {.kind = AL_OP_REALLOC, .size = events->size[i]};
    if (op.size > PTRDIFF_MAX) return AL_FAULT_IMPOSSIBLE_SIZE;
    al_fault fault = al_live_find(&compiler->live, events->object[i], &op.slot);
    if (fault != AL_FAULT_NONE) return fault;
    put(compiler, op);
    put(compiler, (al_op){.kind = AL_OP_OPERAND, .slot = op.slot, .size = compiler->live.bytes[op.slot]});
    al_live_resize(&compiler->live, op.slot, op.size);
    compiler->largest = al_max(compiler->largest, op.size);
    return AL_FAULT_NONE;
}

static al_fault add_death(al_compiler *compiler, const al_events *events, size_t i) {
    al_op op = {.kind = events->op[i] == AL_EVENT_FREE ? AL_OP_FREE : AL_OP_REALLOC_ZERO};
    al_fault fault = al_live_death(&compiler->live, events->object[i], &op.slot, &op.size);
    if (fault == AL_FAULT_NONE) put(compiler, op);
    return fault;
}

static al_fault add_row(al_compiler *compiler, const al_events *events, size_t i) {
    switch (al_event_deed(events, i)) {
    case AL_DEED_BIRTH: return add_birth(compiler, events, i);
    case AL_DEED_RESIZE: return add_resize(compiler, events, i);
    case AL_DEED_DEATH: return add_death(compiler, events, i);
    case AL_DEED_NONE: break;
    }
    return add_call(compiler, events, i);
}

al_fault al_compiler_add(al_compiler *compiler, const al_events *events, size_t *row) {
    *row = 0;
    if (!reserve(compiler, ENTRIES_PER_ROW * events->rows)) return AL_FAULT_NO_MEMORY;
    for (size_t i = 0; i < events->rows; i++) {
        if (i + AHEAD < events->rows) al_live_prefetch(&compiler->live, events->object[i + AHEAD]);
        if (!say_thread(compiler, events->thread[i], events->op[i] == AL_EVENT_THREAD_EXIT)) return AL_FAULT_NO_MEMORY;
        if (events->op[i] >= AL_EVENT_THREAD_START) continue;
        tick(compiler, events->time_ns[i]);
        al_fault fault = add_row(compiler, events, i);
        if (fault != AL_FAULT_NONE) {
            *row = i;
            return fault;
        }
        if (compiler->live.sum > compiler->peak_live_bytes) {
            compiler->peak_live_bytes = compiler->live.sum;
            compiler->peak_live_op = compiler->operations;
        }
        compiler->operations++;
    }
    return AL_FAULT_NONE;
}

al_op *al_compiler_finish(al_compiler *compiler) {
    if (!reserve(compiler, AL_OPS_PAD)) return NULL;
    al_op *entries = compiler->entries;
    for (size_t i = 0; i < AL_OPS_PAD; i++) entries[compiler->count + i] = (al_op){.kind = AL_OP_END};
    compiler->entries = NULL;
    compiler->capacity = 0;
    return entries;
}

void al_entries_free(al_op *entries) { free(entries); }
