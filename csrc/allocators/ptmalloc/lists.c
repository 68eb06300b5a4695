/* The lists of free chunks, one way through all kinds of them. */
#include "allocators/ptmalloc/inspect.h"

enum { ARENA_LISTS = PT_FAST_BINS + PT_BINS - 2 }; /* bins 1 to 126 */

/* --- lists --- */

/* The smallest size whose bin is `index` or a later one. */
static size_t bin_least(size_t index) {
    size_t low = 0, high = (size_t)1 << 20;
    while (low < high) {
        size_t middle = al_align_down(low + (high - low) / 2, PT_GRAIN);
        if (al_pt_bin_of(middle) < index)
            low = middle + PT_GRAIN;
        else
            high = middle;
    }
    return low;
}

static void describe(pt_list *list, pt_list_kind kind, size_t index, size_t least, size_t most) {
    list->kind = kind;
    list->index = (uint32_t)index;
    list->least = least;
    list->most = most;
}

static void describe_arena_list(pt_list *list) {
    const size_t endless = al_align_down(SIZE_MAX, PT_GRAIN);
    if (list->number < PT_FAST_BINS) {
        size_t size = PT_LEAST + list->number * PT_GRAIN;
        describe(list, PT_LIST_FAST, list->number, size, size);
        return;
    }
    size_t bin = list->number - PT_FAST_BINS + PT_UNSORTED;
    if (bin == PT_UNSORTED)
        describe(list, PT_LIST_UNSORTED, bin, PT_LEAST, endless);
    else if (bin < PT_SMALL_END / PT_GRAIN)
        describe(list, PT_LIST_SMALL, bin, bin * PT_GRAIN, bin * PT_GRAIN);
    else
        describe(list, PT_LIST_LARGE, bin, bin_least(bin), bin + 2 < PT_BINS ? bin_least(bin + 1) - PT_GRAIN : endless);
}

bool al_pt_list_next(pt_heap *heap, pt_list *list) {
    if (list->thread == NULL && list->arena == NULL) {
        list->thread = heap->threads;
        list->arena = list->thread == NULL ? &heap->main : NULL;
    } else if (++list->number == (list->thread != NULL ? (size_t)PT_CACHE_BINS : (size_t)ARENA_LISTS)) {
        list->number = 0;
        if (list->thread != NULL) {
            list->thread = list->thread->next;
            list->arena = list->thread == NULL ? &heap->main : NULL;
        } else if ((list->arena = list->arena->next) == &heap->main) {
            return false;
        }
    }
    size_t size = PT_LEAST + list->number * PT_GRAIN;
    if (list->thread != NULL)
        describe(list, PT_LIST_CACHE, list->number, size, size);
    else
        describe_arena_list(list);
    return true;
}

const char *al_pt_list_name(pt_list_kind kind) {
    static const char *const names[] = {"tcache", "fastbin", "unsorted", "smallbin", "largebin"};
    return names[kind];
}

/* --- members --- */

/* What the list says is first, or after `chunk`, unchecked: an entry of a cache, else a chunk or the bin. */
static void *follow(const pt_list *list, const pt_chunk *chunk) {
    if (list->kind == PT_LIST_CACHE) {
        if (chunk == NULL) return list->thread->cache->entries[list->number];
        const pt_entry *entry = al_pt_block(chunk);
        return al_pt_protect(&entry->next, entry->next);
    }
    if (list->kind == PT_LIST_FAST)
        return chunk == NULL ? list->arena->fast[list->number] : al_pt_protect(&chunk->fd, chunk->fd);
    return chunk == NULL ? al_pt_bin(list->arena, list->index)->fd : chunk->fd;
}

static bool stray(pt_member *member, const void *to) {
    *member = (pt_member){.strayed = true, .stray = to};
    return false;
}

bool al_pt_member_next(const pt_heap *heap, const pt_list *list, pt_member *member) {
    bool cached = list->kind == PT_LIST_CACHE;
    if (cached && !al_pt_readable(heap, list->thread->cache, sizeof(pt_cache)))
        return stray(member, list->thread->cache);
    void *link = follow(list, member->chunk);
    member->position += member->chunk != NULL;
    member->chunk = NULL;
    if (link == (al_pt_list_is_bin(list) ? al_pt_bin(list->arena, list->index) : NULL)) return false;
    pt_chunk *chunk = cached ? al_pt_chunk(link) : link;
    if (chunk == member->anchor || !al_pt_readable(heap, chunk, list->kind == PT_LIST_LARGE ? sizeof *chunk : PT_LEAST))
        return stray(member, chunk);
    if (al_is_power_of_two(member->position)) member->anchor = chunk;
    member->chunk = chunk;
    return true;
}

/* --- marks --- */

static size_t mark_of(const pt_list *list) {
    return list->kind == PT_LIST_CACHE ? PT_MARK_CACHED : list->kind == PT_LIST_FAST ? PT_MARK_FAST : PT_MARK_BINNED;
}

/* Whether the head is that of a member, with this mark. A damaged one stops who marks and who takes marks away at the
 * same place; so damage is left as it is. */
static bool fits(const pt_list *list, const pt_chunk *chunk, size_t mark) {
    size_t size = al_pt_bare_size(chunk);
    return al_pt_mark_of(chunk) == mark && size >= list->least && size <= list->most;
}

pt_chunk *al_pt_mark_lists(pt_heap *heap, bool with_bins) {
    pt_chunk *twice = NULL;
    for (pt_list list = {0}; al_pt_list_next(heap, &list);) {
        if (al_pt_list_is_bin(&list) && !with_bins) continue;
        pt_member m = {0};
        while (al_pt_member_next(heap, &list, &m) && fits(&list, m.chunk, PT_UNMARKED))
            al_pt_set_mark(m.chunk, mark_of(&list));
        if (m.chunk != NULL && al_pt_mark_of(m.chunk) != PT_UNMARKED && twice == NULL) twice = m.chunk;
    }
    return twice;
}

void al_pt_unmark_lists(pt_heap *heap, bool with_bins) {
    for (pt_list list = {0}; al_pt_list_next(heap, &list);) {
        if (al_pt_list_is_bin(&list) && !with_bins) continue;
        pt_member m = {0};
        while (al_pt_member_next(heap, &list, &m) && fits(&list, m.chunk, mark_of(&list)))
            al_pt_set_mark(m.chunk, PT_UNMARKED);
    }
}
