#include "replay/verify.h"

#include "replay/contents.h"
#include "replay/room.h"
#include "replay/shadow.h"

#include <string.h>

/* Full checks of a glass box over a replay, beside the one at its end. */
enum { VALIDATIONS = 64 };

typedef struct record {
    size_t bytes;   /* what the block must hold */
    size_t filled;  /* how much of it is filled: less only where a call succeeds that had failed when recorded */
    uint64_t key;   /* of its pattern */
} record;

typedef struct verifier {
    const al_target *target;
    const al_ops *ops;
    record *records; /* by slot */
    al_shadow shadow;
    uint64_t operation, keys, validate_every;
    bool others_inside; /* threads run side by side: the heap is never between two operations */
    volatile uint64_t *progress;
    al_text *out;
} verifier;

static const char *const kind_names[] = {
    [AL_OP_MALLOC] = "malloc",   [AL_OP_CALLOC] = "calloc",       [AL_OP_ALIGNED] = "aligned malloc",
    [AL_OP_REALLOC] = "realloc", [AL_OP_REALLOC_ZERO] = "realloc", [AL_OP_FREE] = "free",
    [AL_OP_FAILED] = "a call that failed when recorded",
};

/* --- saying what is wrong: "failure operation 7 (malloc of 100 bytes): ..." --- */

static al_text *complain(verifier *v, const al_op *op) {
    al_text *out = v->out;
    al_text_put(out, "verified 0\nfailure operation ");
    al_text_u64(out, v->operation);
    al_text_put(out, " (");
    al_text_put(out, kind_names[op->kind]);
    al_text_put(out, op->kind == AL_OP_REALLOC ? " to " : " of ");
    al_text_u64(out, op->kind == AL_OP_REALLOC_ZERO ? 0 : op->size);
    al_text_put(out, " bytes): ");
    return out;
}

static bool fail(verifier *v, const al_op *op, const char *what) {
    al_text *out = complain(v, op);
    al_text_put(out, what);
    al_text_put(out, "\n");
    return false;
}

static bool fail_at(verifier *v, const al_op *op, const char *what, uint64_t where) {
    al_text *out = complain(v, op);
    al_text_put(out, what);
    al_text_put(out, " ");
    al_text_hex(out, where);
    al_text_put(out, "\n");
    return false;
}

/* --- contents --- */

static bool intact(verifier *v, const al_op *op, const char *block, const record *r, size_t bytes) {
    size_t wrong = al_contents_wrong(block, r->key, bytes);
    if (wrong == bytes) return true;
    al_text *out = complain(v, op);
    al_text_put(out, "byte ");
    al_text_u64(out, wrong);
    al_text_put(out, " of the block at ");
    al_text_hex(out, (uintptr_t)block);
    al_text_put(out, " has changed\n");
    return false;
}

/* --- where a block may lie --- */

/* A block of no bytes still is one of its own: it takes one byte of the address space. */
static size_t extent(size_t bytes) { return al_max(bytes, 1); }

static bool take(verifier *v, const al_op *op, char *block, size_t bytes) {
    size_t alignment = bytes >= AL_MIN_ALIGNMENT ? AL_MIN_ALIGNMENT : bytes ? (size_t)1 << al_log2_floor(bytes) : 1;
    if (op->kind == AL_OP_ALIGNED) alignment = al_max(alignment, (size_t)1 << op->align_log2);
    if (!al_is_aligned((uintptr_t)block, alignment)) return fail_at(v, op, "misaligned block", (uintptr_t)block);
    uintptr_t where;
    switch (al_shadow_take(&v->shadow, (uintptr_t)block, extent(bytes), &where)) {
    case AL_SHADOW_OVERLAP:
        return fail_at(v, op, "the block overlaps a live one at", where);
    case AL_SHADOW_OUTSIDE:
        return fail_at(v, op, "not an address of user space:", (uintptr_t)block);
    case AL_SHADOW_NO_MEMORY:
        return fail(v, op, "no memory left to keep track of live blocks");
    case AL_SHADOW_TAKEN:
        break;
    }
    if (v->target->calls->usable_size && v->target->calls->usable_size(v->target->self, block) < bytes)
        return fail_at(v, op, "usable size is less than was asked for, block", (uintptr_t)block);
    return true;
}

static void release(verifier *v, const char *block, const record *r) {
    al_shadow_release(&v->shadow, (uintptr_t)block, extent(r->bytes));
}

/* --- the two moments of an operation --- */

static bool before(void *watcher, const al_op *op, void *old) {
    verifier *v = watcher;
    if (v->progress) *v->progress = v->operation;
    record *r = &v->records[op->slot];
    if (old == NULL) return true;
    if (!intact(v, op, old, r, r->filled)) return false;
    release(v, old, r); /* once the call has begun, the place may be another's */
    return true;
}

static bool born(verifier *v, const al_op *op, char *block) {
    if (block == NULL) return op->size == 0 || fail(v, op, "it failed, but succeeded when recorded");
    if (!take(v, op, block, op->size)) return false;
    const bool is_zero = op->kind != AL_OP_CALLOC || al_contents_not_zero(block, op->size) == op->size;
    if (!is_zero) return fail(v, op, "the block is not zero");
    v->records[op->slot] = (record){.bytes = op->size, .filled = op->size, .key = ++v->keys};
    al_contents_fill(block, v->keys, 0, op->size);
    return true;
}

static bool resized(verifier *v, const al_op *op, char *old, char *block) {
    record *r = &v->records[op->slot];
    if (old == NULL) return born(v, op, block);
    if (block == NULL) return fail(v, op, "it failed, but succeeded when recorded");
    if (!take(v, op, block, op->size)) return false;
    size_t kept = al_min(r->filled, op->size);
    if (!intact(v, op, block, r, kept)) return false;
    al_contents_fill(block, r->key, kept, op->size);
    r->bytes = r->filled = op->size;
    return true;
}

/* What had failed succeeds now. Its bytes may be more than there is memory for, so none is filled. */
static bool unexpected(verifier *v, const al_op *op, char *old, char *block) {
    if (op->original != AL_OP_REALLOC || op->slot == 0) return true;
    record *r = &v->records[op->slot];
    if (block == NULL) return old == NULL || take(v, op, old, r->bytes);
    if (old == NULL) *r = (record){.key = ++v->keys};
    if (!take(v, op, block, op->size)) return false;
    r->bytes = op->size;
    r->filled = al_min(r->filled, op->size);
    return intact(v, op, block, r, r->filled);
}

/* A ledger that is kept costs nothing to check each time; one that is computed is part of the validation. */
static bool ledger_sound(al_heap *heap) {
    if (heap->allocator->ledger != NULL) return true;
    const al_ledger ledger = al_heap_ledger(heap);
    return al_ledger_sum(&ledger) == al_regions_counters(heap->regions)->mapped;
}

static bool accounted(verifier *v, const al_op *op) {
    if (v->others_inside) return true;
    al_heap *heap = v->target->calls->glass ? v->target->calls->glass(v->target->self) : NULL;
    if (heap == NULL) return true;
    if (!ledger_sound(heap)) return fail(v, op, "the ledger's sum is not the mapped bytes");
    al_flaw flaw;
    if (v->operation % v->validate_every != 0 || al_heap_validate(heap, &flaw)) return true;
    return fail_at(v, op, flaw.what, flaw.address);
}

static bool after(void *watcher, const al_op *op, void *old, void *block) {
    verifier *v = watcher;
    bool good;
    switch (op->kind) {
    case AL_OP_REALLOC:
        good = resized(v, op, old, block);
        break;
    case AL_OP_FAILED:
        good = unexpected(v, op, old, block);
        break;
    case AL_OP_FREE:
    case AL_OP_REALLOC_ZERO:
        good = true;
        break;
    default:
        good = born(v, op, block);
    }
    if (!good || !accounted(v, op)) return false;
    v->operation++;
    if (v->progress) *v->progress = v->operation;
    return true;
}

static const al_watch watch = {before, after};

/* Survivors still hold what was written, and the heap stands after all are freed. */
static bool ended(verifier *v) {
    for (size_t slot = 1; slot < v->ops->slot_count; slot++) {
        al_op freed = {.kind = AL_OP_FREE, .slot = (uint32_t)slot, .size = v->records[slot].bytes};
        void *block = v->ops->slots[slot];
        if (block != NULL && !before(v, &freed, block)) return false;
    }
    al_drain(v->target->calls, v->target->self, v->ops);
    v->others_inside = false;
    v->validate_every = 1;
    return accounted(v, &(al_op){.kind = AL_OP_FREE});
}

void al_verify(const al_target *target, const al_ops *ops, volatile uint64_t *progress, al_text *out) {
    verifier v = {.target = target, .ops = ops, .progress = progress, .out = out};
    v.others_inside = target->concurrent != NULL;
    v.validate_every = (uint64_t)(ops->end - ops->begin) / VALIDATIONS + 1;
    v.records = al_room_take(ops->slot_count * sizeof *v.records, 0);
    if (v.records == NULL || !al_shadow_init(&v.shadow)) {
        al_text_line(out, "trouble", "no memory for the verifier");
        return;
    }
    char *start = out->at;
    al_replay_watched(target, &watch, &v, ops, 0);
    if (out->at == start && ended(&v)) al_text_put(out, "verified 1\n");
    al_shadow_destroy(&v.shadow);
    al_room_drop(v.records, ops->slot_count * sizeof *v.records);
}
