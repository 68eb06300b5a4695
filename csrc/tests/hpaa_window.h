/* A page allocator of tcmalloc-hpaa alone, in a window. */
#ifndef AL_TESTS_HPAA_WINDOW_H
#define AL_TESTS_HPAA_WINDOW_H

#include "allocators/tcmalloc/hpaa/hpaa.h"
#include "base/align.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND UINT64_C(1000000000)
#define MIB (1 << 20)

static hp_heap *heap;
static uintptr_t top; /* of the first reservation for pages */

__attribute__((unused)) static const hp_params usual = {
    .cache_limit = 10,
    .regions = true,
    .region_slack = 64 * MIB,
    .subrelease = true,
    .skip_short = 60 * SECOND,
    .skip_long = 300 * SECOND,
};

static inline void make_in(hp_params params, al_regions_config config) {
    int error = 0;
    config.log = true;
    al_regions *regions = al_regions_create(&config, &error);
    assert(regions != NULL);
    heap = al_regions_own(regions, sizeof *heap);
    heap->base.heap.regions = regions;
    heap->params = params;
    al_hp_pages_init(heap);
    assert(al_regions_counters(regions)->reserved == 0);
}

static inline void make(hp_params params) { make_in(params, (al_regions_config){0}); }

static inline void validate(void) {
    al_flaw flaw = {0};
    if (al_hp_pages_validate(heap, &flaw)) return;
    fprintf(stderr, "%s at %p\n", flaw.what, (void *)flaw.address);
    abort();
}

static inline void end(void) {
    validate();
    al_regions_destroy(heap->base.heap.regions);
}

static inline tc_span *take(size_t pages) {
    tc_span *span = heap->base.pages_take(&heap->base, pages);
    assert(span != NULL && span->pages == pages && span->location == TC_IN_USE);
    assert(al_tc_span_of(&heap->base, (void *)span->address) == span);
    assert(al_tc_span_of(&heap->base, (void *)(al_tc_end(span) - 1)) == span);
    if (top == 0) top = heap->pages.system.areas[HP_FOR_PAGES][0].end;
    return span;
}

static inline void give(tc_span *span) { heap->base.pages_give(&heap->base, span); }

static inline hp_hugepage *hugepage_of(const tc_span *span) { return al_hp_hugepage(&heap->pages, span->address); }
static inline size_t page_of(const tc_span *span) { return span->address / TC_PAGE % HP_HUGE_PAGES; }
static inline hp_page_figures figures(void) { return al_hp_pages_figures(heap); }
static inline uint64_t calls(al_call call) { return al_regions_counters(heap->base.heap.regions)->calls[call]; }
static inline void pass(uint64_t nanoseconds) { al_regions_advance(heap->base.heap.regions, nanoseconds); }

/* A full hugepage, the first half of it in blocks of a page. Make all of them before there are gaps in any. */
typedef struct full {
    hp_hugepage *hugepage;
    tc_span *parts[HP_SMALL_PAGES];
} full;

static inline full make_full(void) {
    full made;
    tc_span *half = take(HP_SMALL_PAGES), *rest = take(HP_SMALL_PAGES);
    made.hugepage = hugepage_of(half);
    assert(hugepage_of(rest) == made.hugepage && page_of(half) == 0);
    give(half);
    for (size_t i = 0; i < HP_SMALL_PAGES; i++) {
        made.parts[i] = take(1);
        assert(hugepage_of(made.parts[i]) == made.hugepage && page_of(made.parts[i]) == i);
    }
    return made;
}

static inline void make_gap(const full *made, size_t page, size_t pages) {
    for (size_t i = page; i < page + pages; i++) give(made->parts[i]);
}

static inline hp_params hasty(void) {
    hp_params params = usual;
    params.skip_short = params.skip_long = 0;
    return params;
}

#endif
