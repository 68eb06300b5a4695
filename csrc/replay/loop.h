/* The replay loop. There is one, inlined into every pass over a constant table of calls and a constant watch, so that
 * the compiler makes direct calls of both and a pass that watches nothing pays for nothing.
 *
 * What one operation means is said here alone: verify, memory, calls and time cannot differ in it. */
#ifndef AL_REPLAY_LOOP_H
#define AL_REPLAY_LOOP_H

#include "allocators/heap.h"
#include "base/align.h"
#include "trace/ops.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AL_INLINE static inline __attribute__((always_inline))

/* What is replayed on. `self` is whatever the calls need: nothing for the process's malloc, a thread of a heap. */
typedef struct al_calls {
    void *(*malloc)(void *self, size_t bytes);
    void *(*calloc)(void *self, size_t bytes);
    void *(*memalign)(void *self, size_t alignment, size_t bytes);
    void *(*realloc)(void *self, void *block, size_t bytes);
    void (*free)(void *self, void *block);
    size_t (*usable_size)(void *self, void *block); /* NULL: it cannot tell */
    bool (*aside)(void *self, const al_op *op); /* for what is no operation, TICK to POST; answers whether to go on.
                                                   NULL: nothing to do */
    al_heap *(*glass)(void *self); /* the heap, where it can be looked into; NULL, or returns NULL, where not */
} al_calls;

/* Who looks on; each answers whether to go on. before: the block of a realloc (one that failed when recorded, too) or
 * free, as it was. after: what came of the operation; `old` is the block before and `block` the result of the call
 * (NULL after a free). `op` points at the entry; a realloc's operand follows it. */
typedef struct al_watch {
    bool (*before)(void *watcher, const al_op *op, void *old);
    bool (*after)(void *watcher, const al_op *op, void *old, void *block);
} al_watch;

typedef struct al_ops {
    const al_op *begin, *end;
    void **slots; /* all NULL before the first pass and after al_drain */
    size_t slot_count;
} al_ops;

/* Something to replay on, with its own copy of the loop, which watches nothing. Where threads run side by side (then
 * `concurrent` is what each of them replays on), it brings the watched loop as well; `watch` is called by one at a
 * time. */
typedef struct al_target {
    const al_calls *calls;
    void *self;
    void (*loop)(void *self, const al_ops *ops, size_t touch_page);
    const struct al_target *concurrent; /* NULL: one thread, in recorded order */
    void (*watched)(const struct al_target *target, const al_watch *watch, void *watcher, const al_ops *ops,
                    size_t touch_page);
} al_target;

/* One byte in every page of bytes [from, bytes) of the block, and its last byte: what was there before is touched
 * already. page = 0 touches nothing. */
AL_INLINE void al_touch(void *block, size_t from, size_t bytes, size_t page) {
    if (page == 0 || bytes <= from || block == NULL) return;
    volatile char *first = block;
    if (from == 0) first[0] = 1;
    uintptr_t end = (uintptr_t)block + bytes;
    for (uintptr_t at = al_align_up((uintptr_t)block + from, page); at < end; at += page) *(volatile char *)at = 1;
    first[bytes - 1] = 1;
}

/* The recorded call failed, so the program went on without it: what succeeds now is given back, or left as it is. */
AL_INLINE void *al_replay_failed(const al_calls *calls, void *self, const al_op *op, void **slot) {
    if (op->original == AL_OP_REALLOC) {
        void *block = calls->realloc(self, *slot, op->size);
        if (op->slot == 0)
            calls->free(self, block);
        else if (block != NULL)
            *slot = block;
        return block;
    }
    void *block = op->original == AL_OP_CALLOC    ? calls->calloc(self, op->size)
                  : op->original == AL_OP_ALIGNED ? calls->memalign(self, (size_t)1 << op->align_log2, op->size)
                                                  : calls->malloc(self, op->size);
    calls->free(self, block);
    return block;
}

/* Slots are prefetched, as the recorded program had its pointers at hand; blocks are not: that would hide the misses
 * which the allocator causes. */
AL_INLINE void al_replay(const al_calls *calls, void *self, const al_watch *watch, void *watcher, const al_ops *ops,
                         size_t touch_page) {
    void **slots = ops->slots;
    for (const al_op *op = ops->begin; op != ops->end; op++) {
        __builtin_prefetch(&slots[op[AL_OPS_PAD].slot], 1);
        const al_op *entry = op;
        void **slot = &slots[op->slot];
        void *old = NULL, *block = NULL;
        /* Most are these two, and two plain branches predict better than a tree of them or a jump. */
        if (op->kind == AL_OP_MALLOC) {
            *slot = block = calls->malloc(self, op->size);
            al_touch(block, 0, op->size, touch_page);
        } else if (op->kind == AL_OP_FREE) {
            old = *slot;
            if (watch->before && !watch->before(watcher, op, old)) return;
            calls->free(self, old);
            *slot = NULL;
        } else {
            switch (op->kind) {
            case AL_OP_REALLOC:
                old = *slot;
                if (watch->before && !watch->before(watcher, op, old)) return;
                block = calls->realloc(self, old, op->size);
                if (block != NULL) *slot = block;
                al_touch(block, old ? op[1].size : 0, op->size, touch_page);
                op++;
                break;
            case AL_OP_CALLOC:
                *slot = block = calls->calloc(self, op->size);
                al_touch(block, 0, op->size, touch_page);
                break;
            case AL_OP_ALIGNED:
                *slot = block = calls->memalign(self, (size_t)1 << op->align_log2, op->size);
                al_touch(block, 0, op->size, touch_page);
                break;
            case AL_OP_REALLOC_ZERO:
                old = *slot;
                if (watch->before && !watch->before(watcher, op, old)) return;
                block = calls->realloc(self, old, 0);
                calls->free(self, block);
                *slot = NULL;
                break;
            case AL_OP_FAILED:
                old = *slot;
                if (watch->before && !watch->before(watcher, op, old)) return;
                block = al_replay_failed(calls, self, op, slot);
                if (op->original == AL_OP_REALLOC) op++;
                break;
            default:
                if (calls->aside && !calls->aside(self, op)) return;
                continue;
            }
        }
        if (watch->after && !watch->after(watcher, entry, old, block)) return;
    }
}

/* On any target, under a watch. */
AL_INLINE void al_replay_watched(const al_target *target, const al_watch *watch, void *watcher, const al_ops *ops,
                                 size_t touch_page) {
    if (target->concurrent != NULL)
        target->watched(target, watch, watcher, ops, touch_page);
    else
        al_replay(target->calls, target->self, watch, watcher, ops, touch_page);
}

/* Frees every survivor, in the order of slots. */
static inline void al_drain(const al_calls *calls, void *self, const al_ops *ops) {
    for (size_t i = 0; i < ops->slot_count; i++) {
        if (ops->slots[i] == NULL) continue;
        calls->free(self, ops->slots[i]);
        ops->slots[i] = NULL;
    }
}

#endif
