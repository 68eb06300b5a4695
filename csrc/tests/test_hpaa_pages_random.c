/* The page allocator of tcmalloc-hpaa under random requests, where each must go to the best place there is; and with
 * calls that are refused. */
#undef NDEBUG
#include "tests/hpaa_window.h"

/* --- anything --- */

enum { SLOTS = 300 };

static size_t some_pages(al_rng *rng) {
    const uint64_t draw = al_rng_next(rng);
    switch (draw % 8) {
    case 0: return 1 + (draw >> 8) % 3000;
    case 1: return 100 + (draw >> 8) % 200;
    case 2: return 256 * (1 + (draw >> 8) % 4);
    default: return 1 + (draw >> 8) % 40;
    }
}

/* Where a small block must go: to a hugepage of the best list, at the place that fits best. Returns what the choice is
 * among, told by its list; the last changed one comes first, which only the list knows. */
static const hp_hugepage *should_be_in(size_t pages) {
    const hp_hugepage *best = NULL;
    for (uintptr_t at = 0; al_hp_next(&heap->pages, &at); at += HP_HUGE) {
        const hp_hugepage *h = al_hp_hugepage(&heap->pages, at);
        if (h->state != HP_FILLED || h->longest < pages) continue;
        if (best == NULL || h->shelf < best->shelf || (h->shelf == best->shelf && h->list < best->list)) best = h;
    }
    return best;
}

static size_t should_be_at(const uint64_t *used, size_t pages) {
    size_t best = 0, shortest = SIZE_MAX;
    for (size_t at = 0, end; at < HP_HUGE_PAGES; at = end + 1) {
        for (end = at; end < HP_HUGE_PAGES && !al_bitmap_test(used, end);) end++;
        if (end - at < pages || end - at >= shortest) continue;
        shortest = end - at;
        best = at;
    }
    return best;
}

static tc_span *take_checked(size_t pages) {
    static hp_hugepage before[HP_GIB_HUGE];
    const hp_hugepage *group = pages < HP_HUGE_PAGES ? should_be_in(pages) : NULL;
    if (group == NULL) return take(pages);
    const uint8_t shelf = group->shelf;
    const uint16_t list = group->list;
    const uintptr_t start = group->node.address & ~(uintptr_t)(HP_GIB - 1);
    memcpy(before, heap->pages.gibs[start >> 30], sizeof before);
    tc_span *span = take(pages);
    if ((span->address & ~(uintptr_t)(HP_GIB - 1)) != start) return span;
    const hp_hugepage *chosen = &before[span->address / HP_HUGE % HP_GIB_HUGE];
    assert(chosen->shelf == shelf && chosen->list == list);
    assert(page_of(span) == should_be_at(chosen->used, pages));
    return span;
}

static void test_at_random(hp_params params, uint64_t seed, int steps) {
    static tc_span *spans[SLOTS];
    al_rng rng = {seed};
    memset(spans, 0, sizeof spans);
    make(params);
    for (int step = 0; step < steps; step++) {
        tc_span **slot = &spans[al_rng_next(&rng) % SLOTS];
        if (*slot != NULL) {
            give(*slot);
            *slot = NULL;
        } else {
            *slot = take_checked(some_pages(&rng));
            memset((void *)(*slot)->address, 1, TC_PAGE);
        }
        if (al_rng_next(&rng) % 20 == 0) pass(al_rng_next(&rng) % (3 * SECOND));
        if (al_rng_next(&rng) % 50 == 0) al_hp_pages_release(heap, al_rng_next(&rng) % (8 * MIB));
        if (step % 10 == 0) validate();
        const hp_page_figures f = figures();
        const size_t free = (heap->pages.system.committed << HP_HUGE_BITS) - heap->pages.in_use_pages * TC_PAGE;
        assert(f.backed_free + f.unbacked == free);
    }
    for (int i = 0; i < SLOTS; i++)
        if (spans[i] != NULL) give(spans[i]);
    assert(heap->pages.in_use_pages == 0 && heap->pages.filler.hugepages == 0 && heap->pages.cache.usage == 0);
    al_hp_pages_release(heap, SIZE_MAX);
    assert(figures().backed_free == 0);
    end();
}

/* --- calls that are refused --- */

static bool add_free(void *context, const al_binned *entry) {
    *(size_t *)context += entry->bytes;
    assert(entry->bytes >= entry->least && entry->bytes <= entry->most);
    uintptr_t run_end;
    assert(al_hp_free_at(heap, entry->address, &run_end) && run_end == entry->address + entry->bytes);
    return true;
}

static void check_bins(void) {
    size_t free = 0;
    assert(al_hp_pages_bins(heap, add_free, &free));
    assert(free == (heap->pages.system.committed << HP_HUGE_BITS) - heap->pages.in_use_pages * TC_PAGE);
}

/* Whatever call is refused: what fails changes nothing, and the next request is served. False: none was. */
static bool refuse(uint64_t nth) {
    static const size_t sizes[] = {1, 128, 200, 257, 768, 3, 150, 1000, 130, 256, 2000, 40};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    tc_span *spans[COUNT];
    hp_params params = hasty();
    params.region_slack = 100 * TC_PAGE;
    params.cache_limit = 1;
    make(params);
    al_regions_set_fail_call(heap->base.heap.regions, nth);
    for (size_t i = 0; i < COUNT; i++) {
        const size_t in_use = heap->pages.in_use_pages, usage = heap->pages.cache.usage;
        spans[i] = heap->base.pages_take(&heap->base, sizes[i]);
        validate();
        if (spans[i] != NULL) continue;
        assert(heap->pages.in_use_pages == in_use && heap->pages.cache.usage == usage);
        spans[i] = take(sizes[i]);
    }
    check_bins();
    for (size_t i = 0; i < COUNT; i += 2) give(spans[i]);
    validate();
    al_hp_pages_release(heap, SIZE_MAX);
    validate();
    check_bins();
    for (size_t i = 1; i < COUNT; i += 2) give(spans[i]);
    validate();
    al_hp_pages_release(heap, SIZE_MAX);
    const al_counters *c = al_regions_counters(heap->base.heap.regions);
    uint64_t failed = 0;
    for (unsigned i = 0; i < AL_CALL_KINDS; i++) failed += c->failed[i];
    al_hp_pages_release(heap, SIZE_MAX);
    assert(heap->pages.in_use_pages == 0 && figures().backed_free == 0);
    end();
    return failed > 0;
}

static void test_refusals(void) {
    uint64_t nth = 1;
    while (refuse(nth)) nth++;
    assert(nth > 20);
}

int main(void) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        hp_params params = hasty();
        test_at_random(usual, seed, 3000);
        test_at_random(params, seed, 3000);
        params.region_slack = 1 * MIB;
        test_at_random(params, seed, 3000);
    }
    test_refusals();
    return 0;
}
