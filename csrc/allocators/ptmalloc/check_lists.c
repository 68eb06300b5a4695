/* Whether each list holds what it should, in its order. That members are chunks, and free, the census in validate.c
 * shows: here a member is no more than a place that can be read. */
#include "allocators/ptmalloc/cache.h"
#include "allocators/ptmalloc/inspect.h"

static bool check_member(const pt_list *list, const pt_chunk *chunk, al_flaw *flaw) {
    size_t size = al_pt_size(chunk);
    if (size < list->least || size > list->most || !al_is_aligned(size, PT_GRAIN))
        return al_blame(flaw, chunk, "ptmalloc: a chunk is in a list of other sizes");
    return !al_pt_mapped(chunk) || al_blame(flaw, chunk, "ptmalloc: a mapped chunk is in a list");
}

static bool check_end(const pt_member *m, al_flaw *flaw) {
    return !m->strayed || al_blame(flaw, m->stray, "ptmalloc: a list leads to where no chunk can be, or around");
}

/* --- singly linked --- */

static bool check_cache_list(const pt_heap *heap, const pt_list *list, al_flaw *flaw) {
    const pt_cache *cache = list->thread->cache;
    size_t count = al_pt_cache_count(cache, list->number);
    if (count > (list->least < list->thread->cache_size ? list->thread->cache_count : 0))
        return al_blame(flaw, cache, "ptmalloc: a cache holds more chunks of a size than it may");
    pt_member m = {0};
    while (al_pt_member_next(heap, list, &m)) {
        const pt_entry *entry = al_pt_block(m.chunk);
        if (m.position == count) break;
        if (!check_member(list, m.chunk, flaw)) return false;
        if (entry->key != heap->cache_key) return al_blame(flaw, m.chunk, "ptmalloc: a cached chunk lacks the key");
    }
    if (!check_end(&m, flaw)) return false;
    return (m.chunk == NULL && m.position == count) ||
           al_blame(flaw, cache, "ptmalloc: a cache's count is not the length of its list");
}

static bool check_fast_list(const pt_heap *heap, const pt_list *list, al_flaw *flaw) {
    pt_member m = {0};
    while (al_pt_member_next(heap, list, &m))
        if (!check_member(list, m.chunk, flaw)) return false;
    if (!check_end(&m, flaw)) return false;
    return m.position == 0 || list->arena->has_fast ||
           al_blame(flaw, list->arena->fast[list->index], "ptmalloc: an arena says it has no fastbin chunks, but has");
}

/* --- bins --- */

/* The links between sizes, of chunks that nobody has sorted: none. */
static bool check_unsized(const pt_heap *heap, const pt_list *list, al_flaw *flaw) {
    for (pt_member m = {0}; al_pt_member_next(heap, list, &m);) {
        if (al_pt_size(m.chunk) < PT_SMALL_END) continue;
        if (!al_pt_readable(heap, m.chunk, sizeof *m.chunk))
            return al_blame(flaw, m.chunk, "ptmalloc: a free chunk reaches beyond its memory");
        if (m.chunk->fd_size != NULL || m.chunk->bk_size != NULL)
            return al_blame(flaw, m.chunk, "ptmalloc: an unsorted chunk is linked by size");
    }
    return true;
}

/* The largest first; the first one of each size is linked with those of the next smaller and larger one, around. */
static bool check_sorted(const pt_list *list, al_flaw *flaw) {
    const pt_chunk *bin = al_pt_bin(list->arena, list->index), *first = bin->fd, *run = NULL;
    for (const pt_chunk *chunk = first; chunk != bin; chunk = chunk->fd) {
        if (run != NULL && al_pt_size(chunk) > al_pt_size(run))
            return al_blame(flaw, chunk, "ptmalloc: a large bin is not sorted");
        if (run != NULL && al_pt_size(chunk) == al_pt_size(run)) {
            if (chunk->fd_size != NULL || chunk->bk_size != NULL)
                return al_blame(flaw, chunk, "ptmalloc: not only the first chunk of a size is linked by size");
            continue;
        }
        if (run != NULL && (run->fd_size != chunk || chunk->bk_size != run))
            return al_blame(flaw, chunk, "ptmalloc: the links between sizes are wrong");
        run = chunk;
    }
    return run == NULL || (run->fd_size == first && first->bk_size == run) ||
           al_blame(flaw, first, "ptmalloc: the links between sizes are wrong");
}

static bool check_bin(const pt_heap *heap, const pt_list *list, al_flaw *flaw) {
    const pt_chunk *bin = al_pt_bin(list->arena, list->index), *before = bin;
    pt_member m = {0};
    for (; al_pt_member_next(heap, list, &m); before = m.chunk) {
        if (m.chunk->bk != before) return al_blame(flaw, m.chunk, "ptmalloc: links not symmetric");
        if (!check_member(list, m.chunk, flaw)) return false;
    }
    if (!check_end(&m, flaw)) return false;
    if (bin->bk != before) return al_blame(flaw, before, "ptmalloc: links not symmetric");
    bool marked = list->arena->binmap[list->index / 64] >> list->index % 64 & 1;
    if (list->kind == PT_LIST_UNSORTED) return check_unsized(heap, list, flaw);
    if (m.position > 0 && !marked) return al_blame(flaw, before, "ptmalloc: a bin with chunks is mapped as empty");
    if (list->kind == PT_LIST_SMALL) return true;
    return heap->params.first_fit ? check_unsized(heap, list, flaw) : check_sorted(list, flaw);
}

bool al_pt_check_lists(pt_heap *heap, al_flaw *flaw) {
    for (pt_list list = {0}; al_pt_list_next(heap, &list);) {
        bool sound = list.kind == PT_LIST_CACHE  ? check_cache_list(heap, &list, flaw)
                     : list.kind == PT_LIST_FAST ? check_fast_list(heap, &list, flaw)
                                                 : check_bin(heap, &list, flaw);
        if (!sound) return false;
    }
    return true;
}
