/* The hugepage cache: whole free hugepages that are backed, up to a limit.
 *
 * What is more than the limit is given back at once. The limit shall be what a brief dip of use is worth: hugepages
 * that are freed and wanted again within a second need not have been given back. So at each miss
 *
 *     dip   = the lesser of  by how much use was below its peak at most, within the last second
 *                            by how much use is above its least, within the last second
 *     limit = the larger of  the limit, dip + dip / 10
 *
 * and when it was not looked at for two seconds, and in the last one never less than a fifth of the limit lay in the
 * cache, half of the least that lay there is taken off. */
#include "allocators/tcmalloc/hpaa/hpaa.h"

#include "base/align.h"

static uint64_t now_of(const hp_heap *heap) { return al_regions_now(heap->base.heap.regions); }

static void report_use(hp_cache *cache, uint64_t now) {
    al_hp_series_report(&cache->usages, now, cache->usage);
    const size_t peak = al_hp_series_over(&cache->usages, now, HP_CACHE_WINDOW).most;
    al_hp_series_report(&cache->off_peaks, now, peak - cache->usage);
}

static void report_size(hp_cache *cache, uint64_t now) {
    al_hp_series_report(&cache->sizes, now, cache->free.hugepages);
}

/* --- the limit --- */

static void raise_limit(hp_cache *cache, uint64_t now) {
    const size_t fallen = al_hp_series_over(&cache->off_peaks, now, HP_CACHE_WINDOW).most;
    const size_t risen = cache->usage - al_hp_series_over(&cache->usages, now, HP_CACHE_WINDOW).least;
    const size_t dip = al_min(fallen, risen);
    cache->limit = al_max(cache->limit, dip + dip / 10);
}

/* Gives back the shortest ranges, of the last only as much as must be, until no more than this is cached. */
static size_t shrink(hp_heap *heap, size_t size) {
    hp_pages *pages = &heap->pages;
    hp_ranges *free = &pages->cache.free;
    const size_t before = free->hugepages;
    while (free->hugepages > size) {
        hp_hugepage *first = al_hp_ranges_fit(free, 1);
        const size_t count = al_min(first->node.length, free->hugepages - size);
        al_hp_ranges_cut(pages, free, first, count);
        const bool done = al_hp_unback(heap, first->node.address, count << HP_HUGE_BITS);
        al_hp_ranges_add(pages, done ? &pages->unbacked : free, first, count);
        if (!done) break;
    }
    report_size(&pages->cache, now_of(heap));
    return before - free->hugepages;
}

static void lower_limit(hp_heap *heap, uint64_t now) {
    hp_cache *cache = &heap->pages.cache;
    cache->limit_changed = now;
    const size_t least = al_hp_series_over(&cache->sizes, now, HP_CACHE_WINDOW).least;
    if (least < cache->limit / 5) return;
    const size_t drop = al_max(least / 2, 1);
    cache->limit = cache->limit > drop ? al_max(cache->limit - drop, cache->limit_least) : cache->limit_least;
}

/* --- taking and giving --- */

hp_hugepage *al_hp_cache_take(hp_heap *heap, size_t count) {
    hp_pages *pages = &heap->pages;
    hp_cache *cache = &pages->cache;
    const uint64_t now = now_of(heap);
    hp_hugepage *first = al_hp_ranges_fit(&cache->free, count);
    const bool hit = first != NULL;
    if (hit)
        al_hp_ranges_cut(pages, &cache->free, first, count);
    else
        first = al_hp_hugepages_new(heap, count);
    if (first == NULL) return NULL;
    cache->usage += count;
    report_use(cache, now);
    if (hit) {
        cache->hits++;
        report_size(cache, now);
    } else {
        cache->misses++;
        raise_limit(cache, now);
    }
    return first;
}

static void count_returned(hp_heap *heap, size_t count, uint64_t now) {
    heap->pages.cache.usage -= count;
    report_use(&heap->pages.cache, now);
}

void al_hp_cache_give(hp_heap *heap, hp_hugepage *first, size_t count) {
    hp_cache *cache = &heap->pages.cache;
    const uint64_t now = now_of(heap);
    count_returned(heap, count, now);
    al_hp_ranges_add(&heap->pages, &cache->free, first, count);
    report_size(cache, now);
    if (cache->free.hugepages <= cache->limit)
        cache->fills++;
    else
        cache->overflows++;
    if (now - cache->limit_changed > 2 * HP_CACHE_WINDOW) lower_limit(heap, now);
    if (cache->free.hugepages > cache->limit) cache->overflow_hugepages += shrink(heap, cache->limit);
}

void al_hp_cache_give_unbacked(hp_heap *heap, hp_hugepage *hugepage) {
    count_returned(heap, 1, now_of(heap));
    al_hp_ranges_add(&heap->pages, &heap->pages.unbacked, hugepage, 1);
}

size_t al_hp_cache_release(hp_heap *heap, size_t hugepages) {
    hp_cache *cache = &heap->pages.cache;
    const size_t size = cache->free.hugepages;
    lower_limit(heap, now_of(heap));
    const size_t released = shrink(heap, al_min(size - al_min(size, hugepages), cache->limit));
    cache->released_hugepages += released;
    return released;
}
