/* free within an arena: a chunk goes into the thread's cache, a fastbin, or, merged with its neighbours, back. */
#include "allocators/ptmalloc/cache.h"

#include <string.h>

static void perturb_old(const pt_heap *heap, pt_chunk *chunk, size_t size) {
    if (__builtin_expect(heap->params.perturb != 0, 0))
        memset(al_pt_block(chunk), heap->params.perturb, size - PT_HEADER);
}

/* It keeps looking as if in use, so that nobody merges with it. */
static void give_to_fast(const pt_heap *heap, pt_arena *arena, pt_chunk *chunk, size_t size, bool locked) {
    al_check(al_pt_plausible(arena, al_pt_at(chunk, size)), "free(): invalid next size (fast)");
    perturb_old(heap, chunk, size);
    arena->has_fast = true;
    pt_chunk **fast = &arena->fast[al_pt_fast_bin(size)];
    al_check(*fast != chunk, "double free or corruption (fasttop)");
    al_check(!locked || *fast == NULL || al_pt_fast_bin(al_pt_size(*fast)) == al_pt_fast_bin(size),
             "invalid fastbin entry (free)"); /* free itself, which takes no lock here in glibc, may not look */
    chunk->fd = al_pt_protect(&chunk->fd, *fast);
    *fast = chunk;
}

typedef struct merge_words {
    const char *size, *list; /* what to say when the chunk below, or the list, is damaged; NULL: not looked at */
} merge_words;

/* The chunk is free but in no list. With those it touches it becomes unsorted, or part of the top. Its size then. */
static size_t merge(pt_arena *arena, pt_chunk *chunk, size_t size, const merge_words *words) {
    pt_chunk *next = al_pt_at(chunk, size);
    if (!al_pt_prev_inuse(chunk)) {
        size_t below = chunk->prev_size;
        chunk = al_pt_below(chunk);
        al_check(al_pt_size(chunk) == below, words->size);
        al_pt_unlink(chunk);
        size += below;
    }
    if (next == arena->top) {
        size += al_pt_size(next);
        al_pt_set_head(chunk, size | PT_PREV_INUSE);
        arena->top = chunk;
        return size;
    }
    if (al_pt_inuse(next)) {
        al_pt_set_prev_inuse(next, false);
    } else {
        al_pt_unlink(next);
        size += al_pt_size(next);
    }
    al_pt_set_head(chunk, size | PT_PREV_INUSE);
    al_pt_set_foot(chunk, size);
    al_pt_push_unsorted(arena, chunk, size, words->list);
    return size;
}

static void check_neighbours(const pt_arena *arena, const pt_chunk *chunk, size_t size) {
    const pt_chunk *next = al_pt_at(chunk, size), *top = arena->top;
    al_check(chunk != top, "double free or corruption (top)");
    al_check(!arena->contiguous || next < al_pt_at(top, al_pt_size(top)), "double free or corruption (out)");
    al_check(al_pt_prev_inuse(next), "double free or corruption (!prev)");
    al_check(al_pt_plausible(arena, next), "free(): invalid next size (normal)");
}

/* A large free chunk is the moment to look whether memory can go back to the system. */
static void look_at_top(pt_heap *heap, pt_arena *arena) {
    if (arena->has_fast) al_pt_consolidate(arena);
    if (!al_pt_is_main(arena))
        al_pt_subheap_trim(heap, arena, heap->params.top_pad);
    else if (al_pt_size(arena->top) >= al_pt_get(&heap->params.trim_threshold))
        al_pt_trim_top(heap, heap->params.top_pad);
}

static void give_back(pt_heap *heap, pt_arena *arena, pt_chunk *chunk, size_t size) {
    static const merge_words words = {"corrupted size vs. prev_size while consolidating",
                                      "free(): corrupted unsorted chunks"};
    check_neighbours(arena, chunk, size);
    perturb_old(heap, chunk, size);
    if (merge(arena, chunk, size, &words) >= PT_CONSOLIDATE_FROM) look_at_top(heap, arena);
}

void al_pt_give_uncached(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, bool locked) {
    pt_heap *heap = al_pt_heap(thread);
    size_t size = al_pt_size(chunk);
    if (!locked) al_pt_arena_lock(arena);
    al_pt_book_given(arena, size);
    if (size <= heap->params.fast_max)
        give_to_fast(heap, arena, chunk, size, locked);
    else
        give_back(heap, arena, chunk, size);
    if (!locked) al_pt_arena_leave(arena);
}

void al_pt_give(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, bool locked) {
    if (!al_pt_cache_give(thread, chunk)) al_pt_give_uncached(thread, arena, chunk, locked);
}

void al_pt_give_tail(pt_thread *thread, pt_arena *arena, pt_chunk *chunk, size_t size) {
    size_t rest = al_pt_size(chunk) - size;
    pt_chunk *tail = al_pt_at(chunk, size);
    al_pt_set_size(chunk, size);
    al_pt_set_head(tail, rest | PT_PREV_INUSE | al_pt_arena_flag(arena));
    arena->taken_chunks++;
    al_pt_give(thread, arena, tail, true);
}

void al_pt_consolidate(pt_arena *arena) {
    static const merge_words words = {"corrupted size vs. prev_size in fastbins", NULL};
    arena->has_fast = false;
    for (size_t i = 0; i < PT_FAST_BINS; i++) {
        pt_chunk *chunk = arena->fast[i], *next;
        for (arena->fast[i] = NULL; chunk != NULL; chunk = next) {
            al_check(al_is_aligned((uintptr_t)chunk, PT_GRAIN),
                     "malloc_consolidate(): unaligned fastbin chunk detected");
            size_t size = al_pt_size(chunk);
            al_check(al_pt_fast_bin(size) == i, "malloc_consolidate(): invalid chunk size");
            next = al_pt_protect(&chunk->fd, chunk->fd);
            merge(arena, chunk, size, &words);
        }
    }
}
