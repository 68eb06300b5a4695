/* malloc within an arena: which chunk serves a request. Every step is glibc's, in its order. */
#include "allocators/ptmalloc/cache.h"

enum { SORT_MAX = 10000 }; /* unsorted chunks that one pass sorts, lest a request wait for all of them */

typedef struct request {
    pt_heap *heap;
    pt_arena *arena;
    size_t bytes, need;
    size_t flags;      /* of a chunk handed out */
    pt_thread *thread;
    bool cacheable;    /* the thread's cache has a list for the size: it takes what else is met of it */
    size_t list;
    bool cached;       /* it has taken some while sorting */
    size_t sorted;     /* chunks put into bins meanwhile */
} request;

static void *handed_out(const request *r, pt_chunk *chunk) {
    al_pt_book_taken(r->arena, al_pt_size(chunk));
    void *block = al_pt_block(chunk);
    al_pt_perturb_new(r->heap, block, r->bytes);
    return block;
}

static bool cache_has_room(const request *r) {
    return r->cacheable && al_pt_cache_count(r->thread->cache, r->list) < r->thread->cache_count;
}

static void stash(const request *r, pt_chunk *chunk) {
    al_pt_book_taken(r->arena, r->need);
    al_pt_cache_put(r->thread, chunk, r->list, al_pt_cache_count(r->thread->cache, r->list));
}

/* --- chunks of exactly the size: the first is looked at closely, those that go into the cache are not --- */

/* Where there are other threads glibc looks at the chunk behind, too. */
static pt_chunk *pop_fast(const request *r, pt_chunk **fast, const char *flaw) {
    pt_chunk *chunk = *fast;
    al_check(al_is_aligned((uintptr_t)chunk, PT_GRAIN), flaw);
    *fast = al_pt_protect(&chunk->fd, chunk->fd);
    al_check(al_is_aligned((uintptr_t)*fast, PT_GRAIN) || al_pt_alone(r->heap),
             "malloc(): unaligned fastbin chunk detected");
    return chunk;
}

static pt_chunk *take_fast(const request *r) {
    pt_chunk **fast = &r->arena->fast[al_pt_fast_bin(r->need)];
    if (*fast == NULL) return NULL;
    pt_chunk *chunk = pop_fast(r, fast, "malloc(): unaligned fastbin chunk detected 2");
    al_check(al_pt_fast_bin(al_pt_size(chunk)) == al_pt_fast_bin(r->need), "malloc(): memory corruption (fast)");
    while (*fast != NULL && cache_has_room(r))
        stash(r, pop_fast(r, fast, "malloc(): unaligned fastbin chunk detected 3"));
    return chunk;
}

/* A free chunk of the size that is asked for: the next one learns that it is in use. */
static void use_whole(const request *r, pt_chunk *chunk, size_t size) {
    al_pt_set_prev_inuse(al_pt_at(chunk, size), true);
    al_pt_set_head(chunk, al_pt_head(chunk) | r->flags);
}

static pt_chunk *pop_small(const request *r, pt_chunk *bin, pt_chunk *oldest) {
    bin->bk = oldest->bk;
    bin->bk->fd = bin;
    use_whole(r, oldest, r->need);
    return oldest;
}

static pt_chunk *take_small(const request *r) {
    pt_chunk *bin = al_pt_bin(r->arena, al_pt_bin_of(r->need));
    if (bin->bk == bin) return NULL;
    al_check(bin->bk->bk->fd == bin->bk, "malloc(): smallbin double linked list corrupted");
    pt_chunk *chunk = pop_small(r, bin, bin->bk);
    while (bin->bk != bin && cache_has_room(r)) stash(r, pop_small(r, bin, bin->bk));
    return chunk;
}

/* --- chunks that are cut: the lower part serves --- */

/* The chunk is in no list. Its rest, if any, stays in the list of unsorted chunks, or is put there. */
static pt_chunk *cut(const request *r, pt_chunk *chunk, size_t size, const char *flaw) {
    size_t rest = size - r->need;
    if (rest < PT_LEAST) {
        use_whole(r, chunk, size);
        return chunk;
    }
    pt_chunk *upper = al_pt_at(chunk, r->need);
    al_pt_set_head(chunk, r->need | PT_PREV_INUSE | r->flags);
    al_pt_set_head(upper, rest | PT_PREV_INUSE);
    al_pt_set_foot(upper, rest);
    al_pt_push_unsorted(r->arena, upper, rest, flaw);
    return chunk;
}

/* Small requests that follow each other get neighbours: the rest of the last chunk that was cut serves, if it is all
 * that is unsorted. */
static bool serves_small(const request *r, const pt_chunk *chunk, size_t size) {
    const pt_chunk *unsorted = al_pt_bin(r->arena, PT_UNSORTED);
    return r->need < PT_SMALL_END && chunk->bk == unsorted && chunk == r->arena->last_remainder &&
           size > r->need + PT_LEAST;
}

static pt_chunk *cut_last_remainder(const request *r, pt_chunk *chunk, size_t size) {
    pt_chunk *unsorted = al_pt_bin(r->arena, PT_UNSORTED);
    unsorted->fd = unsorted->bk = unsorted;
    cut(r, chunk, size, "malloc(): corrupted unsorted chunks");
    r->arena->last_remainder = al_pt_at(chunk, r->need);
    return chunk;
}

/* --- the unsorted chunks --- */

static void check_unsorted(const request *r, const pt_chunk *chunk, size_t size) {
    const pt_chunk *next = al_pt_at(chunk, size), *unsorted = al_pt_bin(r->arena, PT_UNSORTED);
    al_check(size > PT_HEADER && size <= r->arena->system_mem, "malloc(): invalid size (unsorted)");
    al_check(next->head >= PT_HEADER && next->head <= r->arena->system_mem,
             "malloc(): invalid next size (unsorted)");
    al_check((next->prev_size & ~(size_t)PT_FLAGS) == size, "malloc(): mismatching next->prev_size (unsorted)");
    al_check(chunk->bk->fd == chunk && chunk->fd == unsorted, "malloc(): unsorted double linked list corrupted");
    al_check(!al_pt_prev_inuse(next), "malloc(): invalid next->prev_inuse (unsorted)");
}

static bool enough_cached(const request *r) {
    size_t limit = r->heap->params.cache_unsorted;
    return r->cached && limit > 0 && r->sorted > limit;
}

/* Oldest first, each chunk serves, or goes into the cache or its bin. The block; NULL: none served. */
static void *take_unsorted(request *r) {
    pt_chunk *unsorted = al_pt_bin(r->arena, PT_UNSORTED), *chunk;
    for (size_t passed = 0; (chunk = unsorted->bk) != unsorted && passed < SORT_MAX;) {
        size_t size = al_pt_size(chunk);
        check_unsorted(r, chunk, size);
        if (serves_small(r, chunk, size)) return handed_out(r, cut_last_remainder(r, chunk, size));
        unsorted->bk = chunk->bk;
        chunk->bk->fd = unsorted;
        if (size == r->need) {
            use_whole(r, chunk, size);
            if (!cache_has_room(r)) return handed_out(r, chunk);
            stash(r, chunk);
            r->cached = true;
            continue;
        }
        al_pt_sort_in(r->arena, chunk, size, r->heap->params.first_fit);
        r->sorted++;
        if (enough_cached(r)) break;
        passed++;
    }
    if (!r->cached) return NULL;
    return al_pt_cache_pop(r->thread->cache, r->list, al_pt_cache_count(r->thread->cache, r->list));
}

/* --- larger chunks --- */

/* Of the request's own large bin: the smallest that fits; of several the second, which leaves the links between sizes
 * alone. */
static pt_chunk *best_of_bin(const request *r, pt_chunk *bin) {
    pt_chunk *chunk = bin->fd;
    if (chunk == bin || al_pt_size(chunk) < r->need) return NULL;
    do chunk = chunk->bk_size;
    while (al_pt_size(chunk) < r->need);
    bool several = chunk != bin->bk && al_pt_size(chunk->fd) == al_pt_size(chunk);
    return several ? chunk->fd : chunk;
}

/* The policy that best fit is compared with: bins in order of arrival, the oldest that fits. */
static pt_chunk *first_of_bin(const request *r, pt_chunk *bin) {
    for (pt_chunk *chunk = bin->bk; chunk != bin; chunk = chunk->bk)
        if (al_pt_size(chunk) >= r->need) return chunk;
    return NULL;
}

static pt_chunk *take_large(const request *r) {
    pt_chunk *bin = al_pt_bin(r->arena, al_pt_bin_of(r->need));
    pt_chunk *chunk = r->heap->params.first_fit ? first_of_bin(r, bin) : best_of_bin(r, bin);
    if (chunk == NULL) return NULL;
    size_t size = al_pt_size(chunk);
    al_pt_unlink(chunk);
    return cut(r, chunk, size, "malloc(): corrupted unsorted chunks");
}

/* The first bin from `from` on that may not be empty; PT_BINS: none. */
static size_t next_marked(const pt_arena *arena, size_t from) {
    for (size_t word = from / 64; word < PT_BINS / 64; word++) {
        uint64_t map = arena->binmap[word];
        if (word == from / 64) map &= UINT64_MAX << from % 64;
        if (map != 0) return word * 64 + (size_t)__builtin_ctzll(map);
    }
    return PT_BINS;
}

/* Any chunk of a larger bin fits; of the first such bin the smallest, or the oldest. */
static pt_chunk *take_larger(const request *r) {
    pt_arena *arena = r->arena;
    for (size_t i = al_pt_bin_of(r->need) + 1; (i = next_marked(arena, i)) < PT_BINS; i++) {
        pt_chunk *bin = al_pt_bin(arena, i), *chunk = bin->bk;
        if (chunk == bin) {
            arena->binmap[i / 64] &= ~(UINT64_C(1) << i % 64);
            continue;
        }
        size_t size = al_pt_size(chunk);
        al_pt_unlink(chunk);
        cut(r, chunk, size, "malloc(): corrupted unsorted chunks 2");
        if (size - r->need >= PT_LEAST && r->need < PT_SMALL_END)
            arena->last_remainder = al_pt_at(chunk, r->need);
        return chunk;
    }
    return NULL;
}

static pt_chunk *take_top(const request *r) {
    al_check(al_pt_size(r->arena->top) <= r->arena->system_mem, "malloc(): corrupted top size");
    return al_pt_cut_top(r->arena, r->need);
}

/* --- all of it --- */

static void *search(request *r) {
    for (;;) {
        void *block = take_unsorted(r);
        if (block != NULL) return block;
        pt_chunk *chunk = r->need >= PT_SMALL_END ? take_large(r) : NULL;
        if (chunk == NULL) chunk = take_larger(r);
        if (chunk == NULL) chunk = take_top(r);
        if (chunk != NULL) return handed_out(r, chunk);
        if (!r->arena->has_fast) return NULL;
        al_pt_consolidate(r->arena);
    }
}

void *al_pt_take(pt_thread *thread, pt_arena *arena, size_t bytes) {
    if (bytes > PTRDIFF_MAX) return NULL;
    pt_heap *heap = al_pt_heap(thread);
    request r = {.heap = heap, .arena = arena, .thread = thread, .bytes = bytes, .need = al_pt_need(bytes)};
    if (arena == NULL) return al_pt_grow(thread, NULL, bytes);
    r.flags = al_pt_arena_flag(arena);
    r.cacheable = r.need < thread->cache_size;
    r.list = al_pt_cache_list(r.need);

    pt_chunk *chunk = r.need <= heap->params.fast_max ? take_fast(&r) : NULL;
    if (chunk == NULL && r.need < PT_SMALL_END) chunk = take_small(&r);
    if (chunk != NULL) return handed_out(&r, chunk);
    if (r.need >= PT_SMALL_END && arena->has_fast) al_pt_consolidate(arena);
    void *block = search(&r);
    return block != NULL ? block : al_pt_grow(thread, arena, bytes);
}

void *al_pt_take_anywhere(pt_thread *thread, size_t bytes, bool stay) {
    pt_arena *arena = al_pt_arena_enter(thread, bytes);
    void *block = al_pt_take(thread, arena, bytes);
    if (block == NULL && arena != NULL && !stay) {
        arena = al_pt_arena_other(thread, arena, bytes);
        block = al_pt_take(thread, arena, bytes);
    }
    if (arena != NULL) al_pt_arena_leave(arena);
    return block;
}
