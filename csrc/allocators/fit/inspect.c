/* Looking inside: walk, validate, stats. */
#include "allocators/fit/fit.h"

#include <string.h>

void al_fit_walk(al_heap *heap, al_walk_fn *visit, void *context) {
    fit_heap *f = al_fit_of(heap);
    const al_link *large = al_large_first(&f->larges);
    if (!al_large_walk(&f->larges, &large, (uintptr_t)f->top.first, visit, context)) return;
    if (!al_top_walk(&f->top, visit, context)) return;
    al_large_walk(&f->larges, &large, UINTPTR_MAX, visit, context);
}

typedef struct census {
    size_t chunks, free;
    bool prev_free; /* the chunk before was */
} census;

static bool check_free(const fit_heap *f, const al_tag *chunk, bool prev_free, al_flaw *flaw) {
    size_t size = al_tag_size(chunk);
    if (prev_free && f->coalesce == FIT_IMMEDIATE) return al_blame(flaw, chunk, "fit: two free neighbours");
    if (al_tag_at(chunk, size)[-1].head != size) return al_blame(flaw, chunk, "fit: foot and head differ");
    return al_index_contains(&f->index, (const al_free *)chunk) ||
           al_blame(flaw, chunk, "fit: a free chunk is not in the index");
}

/* Sizes stay inside the segment, tags agree on both sides, what is free is in the index. */
static bool check_chunk(const fit_heap *f, const al_segment *s, const al_tag *chunk, census *c, al_flaw *flaw) {
    size_t size = al_tag_size(chunk);
    bool is_free = !al_tag_live(chunk);
    if (size < AL_FREE_LEAST || size > s->end - (uintptr_t)chunk)
        return al_blame(flaw, chunk, "fit: a chunk's size leads out of its segment");
    if (chunk->head & AL_TAG_MAPPED) return al_blame(flaw, chunk, "fit: a mapped block inside the break heap");
    if (al_tag_prev_free(chunk) != c->prev_free) return al_blame(flaw, chunk, "fit: wrong flag for its neighbour");
    if (is_free && !check_free(f, chunk, c->prev_free, flaw)) return false;
    c->chunks++;
    c->free += is_free;
    c->prev_free = is_free;
    return true;
}

static bool check_top(const fit_heap *f, const al_segment *s, const census *c, al_flaw *flaw) {
    const al_tag *top = f->top.top;
    if (al_tag_live(top) || al_tag_size(top) < AL_TOP_LEAST) return al_blame(flaw, top, "fit: a live or tiny top");
    if (c->prev_free && f->coalesce == FIT_IMMEDIATE) return al_blame(flaw, top, "fit: a free chunk below the top");
    if (f->fresh > (uintptr_t)s && f->fresh < (uintptr_t)(top + 1))
        return al_blame(flaw, top, "fit: used memory counts as fresh");
    return true;
}

/* The last piece: the top, in the last segment, or a fence. */
static bool check_last(const fit_heap *f, const al_segment *s, const al_tag *last, census *c, al_flaw *flaw) {
    bool is_top = last == f->top.top;
    if ((uintptr_t)al_tag_next(last) != s->end) return al_blame(flaw, last, "fit: its segment does not end there");
    if (is_top != (s->next == NULL)) return al_blame(flaw, last, "fit: the top is not the last piece");
    if (al_tag_prev_free(last) != c->prev_free) return al_blame(flaw, last, "fit: wrong flag for its neighbour");
    if (is_top && !check_top(f, s, c, flaw)) return false;
    if (!is_top && !al_tag_live(last)) return al_blame(flaw, last, "fit: a fence is not live");
    c->prev_free = false;
    return true;
}

static bool check_segment(const fit_heap *f, const al_segment *s, census *c, al_flaw *flaw) {
    const al_tag *chunk = al_segment_chunks(s);
    for (; !al_tag_last(chunk); chunk = al_tag_next(chunk))
        if (!check_chunk(f, s, chunk, c, flaw)) return false;
    return check_last(f, s, chunk, c, flaw);
}

bool al_fit_validate(al_heap *heap, al_flaw *flaw) {
    const fit_heap *f = al_fit_of(heap);
    census c = {0};
    if (!al_large_validate(&f->larges, flaw) || !al_index_validate(&f->index, flaw)) return false;
    for (const al_segment *s = f->top.first; s != NULL; s = s->next)
        if (!check_segment(f, s, &c, flaw)) return false;
    if (c.chunks != f->chunks) return al_blame(flaw, NULL, "fit: the count of chunks is wrong");
    return c.free == f->index.count || al_blame(flaw, NULL, "fit: the index holds chunks that the heap does not");
}

size_t al_fit_stats(al_heap *heap, al_stat *out, size_t room) {
    const fit_heap *f = al_fit_of(heap);
    const al_stat all[] = {
        {"live_chunks", f->chunks - f->index.count},
        {"free_chunks", f->index.count},
        {"mapped_blocks", f->larges.count - f->larges.dead},
        {"top_bytes", f->top.top == NULL ? 0 : al_tag_size(f->top.top)},
        {"unmerged_chunks", f->coalesce == FIT_DEFERRED ? f->unmerged : 0},
        {"merge_passes", f->passes},
    };
    const size_t known = sizeof all / sizeof *all;
    memcpy(out, all, al_min(room, known) * sizeof *all);
    return known;
}

void al_fit_bins(al_heap *heap, al_bin_fn *visit, void *context) {
    const fit_heap *f = al_fit_of(heap);
    if (!al_index_bins(&f->index, visit, context) || f->top.top == NULL) return;
    const al_tag *top = f->top.top;
    visit(context, &(al_binned){"top", 0, 0, AL_TOP_LEAST, SIZE_MAX, (uintptr_t)top, al_tag_size(top)});
}
