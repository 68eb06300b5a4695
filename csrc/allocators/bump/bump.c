/* bump: cuts every block off the top of the break heap and never uses a byte twice. The floor for time, the ceiling for
 * space: what any allocator costs more, it pays for reuse.
 *
 *     malloc, memalign, free, usable_size   O(1)
 *     calloc    O(1): memory that the system has just given is zero, and only heads were ever written above the top
 *     realloc   O(1) for the last block, which grows in place; others move when they grow, and stay when they shrink
 *
 * Everything comes from the break, however large, and where that is refused, from mappings. A freed block becomes a
 * dead chunk, free in the ledger for ever. So of the rules of malloc it breaks, on purpose, those that ask for reuse:
 * C20 (memory freed elsewhere is used again), C22 (what fitted once fits again). */
#include "allocators/allocator.h"
#include "parts/top.h"

#include <string.h>

enum { TOP_PAD, TUNABLES };
enum { LEAST = AL_TAG_GRAIN };

typedef struct bump_heap {
    al_heap heap;
    al_top top;
} bump_heap;

static bump_heap *of(al_heap *heap) { return (bump_heap *)heap; }

static const al_tunable tunables[TUNABLES] = {
    [TOP_PAD] = {.name = "top_pad", .type = AL_TUNABLE_BYTES, .value = 128 << 10, .most = 1 << 30,
                 .help = "bytes asked of the system beyond what a request needs", .real_name = NULL},
};

static int create(al_heap *heap) {
    al_top_init(&of(heap)->top, heap->regions, &heap->ledger, SIZE_MAX);
    return 0;
}

/* Makes room for `size` bytes more; what is orphaned by the way is as dead as any freed block. */
static bool ensure_room(bump_heap *b, size_t size) {
    if (__builtin_expect(al_top_room(&b->top) >= size, 1)) return true;
    al_tag *orphan;
    return al_top_grow(&b->top, size, b->heap.settings.values[TOP_PAD], LEAST, &orphan) == 0;
}

/* pre: there is room. */
static al_tag *cut(bump_heap *b, size_t size) {
    b->heap.ledger.free -= size;
    b->heap.ledger.metadata += AL_TAG_BYTES;
    b->heap.ledger.usable += size - AL_TAG_BYTES;
    return al_top_cut(&b->top, size);
}

static void bury(bump_heap *b, al_tag *chunk) {
    size_t size = al_tag_size(chunk);
    chunk->head &= ~(size_t)AL_TAG_LIVE;
    b->heap.ledger.free += size;
    b->heap.ledger.metadata -= AL_TAG_BYTES;
    b->heap.ledger.usable -= size - AL_TAG_BYTES;
}

static void *bump_malloc(al_thread *thread, size_t bytes) {
    bump_heap *b = of(thread->heap);
    size_t size = al_tag_need(bytes, LEAST);
    return ensure_room(b, size) ? al_tag_block(cut(b, size)) : NULL;
}

/* The bytes below the aligned block become a dead chunk. */
static void *bump_memalign(al_thread *thread, size_t alignment, size_t bytes) {
    bump_heap *b = of(thread->heap);
    size_t size = al_tag_need(bytes, LEAST);
    if (!ensure_room(b, size + alignment)) return NULL;
    uintptr_t block = (uintptr_t)al_tag_block(b->top.top);
    size_t lead = al_align_up(block, alignment) - block;
    if (lead > 0) bury(b, cut(b, lead));
    return al_tag_block(cut(b, size));
}

static void bump_free(al_thread *thread, void *block) { bury(of(thread->heap), al_tag_of(block)); }

static size_t bump_usable_size(al_heap *heap, const void *block) {
    (void)heap;
    return al_tag_usable(al_tag_of(block));
}

static bool grow_last(bump_heap *b, al_tag *chunk, size_t size) {
    if (al_tag_next(chunk) != b->top.top) return false;
    size_t more = size - al_tag_size(chunk);
    if (al_top_room(&b->top) < more && al_top_mapped(&b->top)) return false;
    if (!ensure_room(b, more)) return false;
    if (al_tag_next(chunk) != b->top.top) return false; /* the top is now elsewhere */
    al_top_cut(&b->top, more);
    chunk->head += more;
    b->heap.ledger.free -= more;
    b->heap.ledger.usable += more;
    return true;
}

static void *bump_realloc(al_thread *thread, void *block, size_t bytes) {
    al_tag *chunk = al_tag_of(block);
    size_t size = al_tag_need(bytes, LEAST), old = al_tag_usable(chunk);
    if (size <= al_tag_size(chunk) || grow_last(of(thread->heap), chunk, size)) return block;
    void *moved = bump_malloc(thread, bytes);
    if (moved == NULL) return NULL;
    memcpy(moved, block, old);
    bump_free(thread, block);
    return moved;
}

static void walk(al_heap *heap, al_walk_fn *visit, void *context) { al_top_walk(&of(heap)->top, visit, context); }

/* Each segment is chunks from its head to its end, where the top or a fence lies. */
static bool validate(al_heap *heap, al_flaw *flaw) {
    const al_top *top = &of(heap)->top;
    for (const al_segment *s = top->first; s != NULL; s = s->next) {
        const al_tag *chunk = al_segment_chunks(s);
        while (!al_tag_last(chunk)) {
            if (al_tag_size(chunk) < LEAST || al_tag_size(chunk) > s->end - (uintptr_t)chunk)
                return al_blame(flaw, chunk, "bump: a chunk's size leads out of its segment");
            chunk = al_tag_next(chunk);
        }
        if ((uintptr_t)al_tag_next(chunk) != s->end)
            return al_blame(flaw, chunk, "bump: the last piece does not end its segment");
        if ((s == top->newest) != (chunk == top->top)) return al_blame(flaw, chunk, "bump: the top is elsewhere");
    }
    return true;
}

typedef struct census {
    uint64_t live, dead;
} census;

static bool count(void *context, const al_chunk *chunk) {
    census *c = context;
    c->live += chunk->state == AL_STATE_LIVE;
    c->dead += chunk->state == AL_STATE_FREE;
    return true;
}

static size_t stats(al_heap *heap, al_stat *out, size_t room) {
    census c = {0, 0};
    al_top_walk(&of(heap)->top, count, &c);
    const al_stat all[] = {
        {"live_chunks", c.live},
        {"dead_chunks", c.dead - (of(heap)->top.top != NULL)},
        {"top_bytes", of(heap)->top.top == NULL ? 0 : al_tag_size(of(heap)->top.top)},
    };
    const size_t known = sizeof all / sizeof *all;
    memcpy(out, all, al_min(room, known) * sizeof *all);
    return known;
}

const al_allocator al_bump = {
    .name = "bump",
    .summary = "never reuses a byte: the floor for time, the ceiling for space",
    .tunables = tunables,
    .tunable_count = TUNABLES,
    .heap_bytes = sizeof(bump_heap),
    .thread_bytes = sizeof(al_thread),
    .create = create,
    .malloc = bump_malloc,
    .calloc = bump_malloc,
    .memalign = bump_memalign,
    .realloc = bump_realloc,
    .free = bump_free,
    .usable_size = bump_usable_size,
    .walk = walk,
    .validate = validate,
    .stats = stats,
};
