/* Where a chunk comes from: the index by policy, the top, a pass of merging, the break. */
#include "allocators/fit/fit.h"

static al_free *find_next(al_index *index, size_t size) {
    al_free *found = al_index_first(index, size, index->rover);
    if (found == NULL) found = al_index_first(index, size, 0);
    if (found != NULL) index->rover = found->rank + 1;
    return found;
}

static al_free *find_worst(const al_index *index, size_t size) {
    size_t largest = al_index_largest(index);
    return largest < size ? NULL : al_index_smallest(index, largest);
}

static al_free *find(fit_heap *f, size_t size) {
    switch (f->policy) {
    case FIT_FIRST: return al_index_first(&f->index, size, 0);
    case FIT_NEXT: return find_next(&f->index, size);
    case FIT_WORST: return find_worst(&f->index, size);
    default: return al_index_smallest(&f->index, size);
    }
}

static al_tag *take_free(fit_heap *f, size_t size) {
    al_free *found = find(f, size);
    if (found == NULL) return NULL;
    al_index_remove(&f->index, found);
    al_tag *chunk = &found->tag;
    size_t rest = al_tag_size(chunk) - size;
    if (rest >= AL_FREE_LEAST) {
        al_tag_resize(chunk, size);
        al_tag *remainder = al_tag_next(chunk);
        remainder->head = rest;
        f->chunks++;
        al_fit_shelve(f, remainder);
    } else {
        al_tag_next(chunk)->head &= ~(size_t)AL_TAG_PREV_FREE;
    }
    chunk->head |= AL_TAG_LIVE;
    al_fit_book_live(f, al_tag_size(chunk));
    return chunk;
}

al_tag *al_fit_cut_top(fit_heap *f, size_t size) {
    al_tag *chunk = al_top_cut(&f->top, size);
    uintptr_t end = (uintptr_t)(f->top.top + 1);
    if (f->fresh < end) f->fresh = end;
    return chunk;
}

static al_tag *take_top(fit_heap *f, size_t size) {
    if (al_top_room(&f->top) < size) return NULL;
    al_tag *chunk = al_fit_cut_top(f, size);
    f->chunks++;
    al_fit_book_live(f, size);
    return chunk;
}

/* What a stranger's move of the break cut off our top goes into the index; nothing there counts as fresh any more. */
static void adopt_orphan(fit_heap *f, al_tag *orphan) {
    f->fresh = (uintptr_t)f->top.newest;
    f->chunks++;
    al_fit_shelve(f, orphan);
}

bool al_fit_ensure_top(fit_heap *f, size_t size) {
    if (al_top_room(&f->top) >= size) return true;
    al_tag *orphan;
    if (al_top_grow(&f->top, size, f->heap.settings.values[FIT_TOP_PAD], AL_FREE_LEAST, &orphan) != 0) return false;
    f->index.base = (char *)f->top.first;
    if (orphan != NULL) adopt_orphan(f, orphan);
    return true;
}

/* Neither the index nor the top had it. */
__attribute__((noinline)) static al_tag *take_hard(fit_heap *f, size_t size) {
    bool deferred = f->coalesce == FIT_DEFERRED;
    al_tag *chunk = NULL;
    if (deferred && f->unmerged > 0 && f->unmerged >= f->chunks / 8) {
        al_fit_pass(f);
        chunk = take_free(f, size);
    }
    if (chunk == NULL && al_fit_ensure_top(f, size)) chunk = take_top(f, size);
    if (chunk != NULL || !deferred || f->unmerged == 0) return chunk;
    al_fit_pass(f);
    chunk = take_free(f, size);
    return chunk != NULL ? chunk : take_top(f, size);
}

al_tag *al_fit_take(fit_heap *f, size_t size) {
    al_tag *chunk = take_free(f, size);
    if (chunk == NULL) chunk = take_top(f, size);
    return chunk != NULL ? chunk : take_hard(f, size);
}
