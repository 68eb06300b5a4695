/* What becomes of a freed chunk. */
#include "allocators/fit/fit.h"

void al_fit_shelve(fit_heap *f, al_tag *chunk) {
    size_t size = al_tag_size(chunk);
    al_tag *next = al_tag_at(chunk, size);
    next[-1].head = size;
    next->head |= AL_TAG_PREV_FREE;
    al_index_insert(&f->index, (al_free *)chunk);
}

static void unshelve(fit_heap *f, al_tag *chunk) { al_index_remove(&f->index, (al_free *)chunk); }

/* In the index, or about to be: neither live nor the top. */
static bool is_free_chunk(const al_tag *chunk) { return !al_tag_live(chunk) && !al_tag_last(chunk); }

/* A chunk that is in no index, right below the top, becomes its lower end. */
static void join_top(fit_heap *f, al_tag *chunk) {
    al_tag_resize(chunk, al_tag_size(chunk) + al_tag_size(f->top.top));
    f->top.top = chunk;
    f->chunks--;
}

/* Merges a free chunk that is in no index with its free neighbours, and returns the whole, in no index either. */
static al_tag *merge(fit_heap *f, al_tag *chunk) {
    al_tag *next = al_tag_next(chunk);
    if (is_free_chunk(next)) {
        unshelve(f, next);
        al_tag_resize(chunk, al_tag_size(chunk) + al_tag_size(next));
        f->chunks--;
    }
    if (!al_tag_prev_free(chunk)) return chunk;
    al_tag *prev = al_tag_prev(chunk);
    unshelve(f, prev);
    al_tag_resize(prev, al_tag_size(prev) + al_tag_size(chunk));
    f->chunks--;
    return prev;
}

void al_fit_give(fit_heap *f, al_tag *chunk) {
    al_fit_book_free(f, al_tag_size(chunk));
    chunk->head &= ~(size_t)AL_TAG_LIVE;
    if (f->coalesce != FIT_IMMEDIATE) {
        f->unmerged++;
        al_fit_shelve(f, chunk);
        return;
    }
    chunk = merge(f, chunk);
    if (al_tag_next(chunk) != f->top.top) {
        al_fit_shelve(f, chunk);
        return;
    }
    join_top(f, chunk);
    const uint64_t *tunables = f->heap.settings.values;
    if (al_tag_size(f->top.top) >= tunables[FIT_TRIM_THRESHOLD]) al_top_trim(&f->top, tunables[FIT_TOP_PAD]);
}

void al_fit_cut_tail(fit_heap *f, al_tag *chunk, size_t size) {
    size_t rest = al_tag_size(chunk) - size;
    if (rest < AL_FREE_LEAST) return;
    al_tag_resize(chunk, size);
    al_tag *tail = al_tag_next(chunk);
    tail->head = rest | AL_TAG_LIVE;
    f->chunks++;
    f->heap.ledger.metadata += AL_TAG_BYTES;
    f->heap.ledger.usable -= AL_TAG_BYTES;
    al_fit_give(f, tail);
}

/* Merges the free chunks from `chunk` on, and with the top if they reach it. Returns what comes next. */
static al_tag *merge_run(fit_heap *f, al_tag *chunk) {
    al_tag *next = al_tag_next(chunk);
    if (!is_free_chunk(next) && next != f->top.top) return next; /* alone */
    unshelve(f, chunk);
    for (; is_free_chunk(next); next = al_tag_next(next)) {
        unshelve(f, next);
        f->chunks--;
    }
    al_tag_resize(chunk, (size_t)((char *)next - (char *)chunk));
    if (next != f->top.top) {
        al_fit_shelve(f, chunk);
        return next;
    }
    join_top(f, chunk);
    return chunk;
}

void al_fit_pass(fit_heap *f) {
    for (const al_segment *s = f->top.first; s != NULL; s = s->next) {
        al_tag *chunk = al_segment_chunks(s);
        while (!al_tag_last(chunk)) chunk = al_tag_live(chunk) ? al_tag_next(chunk) : merge_run(f, chunk);
    }
    f->unmerged = 0;
    f->passes++;
}
