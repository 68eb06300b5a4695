/* The page allocator of tcmalloc-hpaa, alone: where pages come from, in which order, and what goes back to the system.
 * Each test has a heap of its own in a window; addresses are told as hugepages below the top of its first
 * reservation. */
#undef NDEBUG
#include "tests/hpaa_window.h"

/* --- the system --- */

static void test_commits_from_the_top(void) {
    top = 0;
    make(usual);
    tc_span *first = take(1);
    const hp_area *area = &heap->pages.system.areas[HP_FOR_PAGES][0];
    assert(area->end - area->start == HP_GIB && area->end - area->at == HP_HUGE && first->address == area->at);
    for (size_t i = 2; i < 20; i++) {
        take(256);
        assert(area->end - area->at == i << HP_HUGE_BITS);
    }
    size_t count;
    uint64_t dropped, last = UINT64_MAX;
    const al_event *events = al_regions_events(heap->base.heap.regions, &count, &dropped);
    for (size_t i = 0, seen = 0; i < count; i++) {
        const uintptr_t at = (uintptr_t)al_regions_base(heap->base.heap.regions) + events[i].address;
        if (events[i].call != AL_CALL_MPROTECT || at < area->start || at >= area->end) continue;
        assert(events[i].bytes == HP_HUGE && (seen++ == 0 || events[i].address == last - HP_HUGE));
        last = events[i].address;
    }
    assert(calls(AL_CALL_MMAP) == 2 && heap->pages.system.reservations == 2); /* for pages, for metadata */
    end();
}

/* Of several hugepages the lowest come first, as they lie above one another. */
static void test_a_longer_block_takes_new_ones(void) {
    make(usual);
    tc_span *one = take(256), *three = take(768);
    assert(al_tc_end(three) == one->address && heap->pages.system.committed == 4);
    tc_span *large = take(HP_REGION_PAGES + 256);
    assert(al_is_aligned(large->address, HP_HUGE) && heap->pages.system.committed == 4 + 513);
    assert(heap->pages.system.areas[HP_FOR_PAGES][0].at == large->address); /* windows: they adjoin */
    end();
}

/* As much as there is room for; and after all was freed, as much again. */
static void test_small_windows(size_t bytes, size_t offset) {
    make_in(usual, (al_regions_config){.window_bytes = bytes, .break_offset = offset});
    static tc_span *spans[100000];
    size_t before = 0;
    for (int round = 0; round < 3; round++) {
        size_t count = 0;
        while ((spans[count] = heap->base.pages_take(&heap->base, 50)) != NULL) count++;
        validate();
        assert(count * 50 * TC_PAGE > bytes / 2 - offset - 8 * MIB && (round == 0 || count == before));
        before = count;
        while (count > 0) give(spans[--count]);
        validate();
        assert(heap->pages.in_use_pages == 0);
    }
    end();
}

static void test_limits(void) {
    make_in(usual, (al_regions_config){.limit_bytes = 64 * MIB});
    tc_span *span, *first = take(100);
    while ((span = heap->base.pages_take(&heap->base, 100)) != NULL) continue;
    const size_t mapped = al_regions_counters(heap->base.heap.regions)->mapped;
    assert(mapped <= 64 * MIB && mapped > 62 * MIB);
    assert(mapped == heap->pages.metadata_bytes + (heap->pages.system.committed << HP_HUGE_BITS));
    give(first);
    assert(take(100) == first);
    assert(heap->base.pages_take(&heap->base, SIZE_MAX >> TC_PAGE_BITS) == NULL);
    assert(heap->base.pages_take(&heap->base, (size_t)1 << 34) == NULL);
    end();
}

/* In a process, reservations lie where their address tells what for. */
static void test_tags(void) {
    make_in(usual, (al_regions_config){.space = AL_SPACE_PROCESS});
    tc_span *span = take(10);
    memset((void *)span->address, 1, 10 * TC_PAGE);
    const uintptr_t metadata = heap->pages.system.metadata_at;
    assert((span->address >> 42 & 7) == 1 && (metadata >> 42 & 7) == 3);
    for (unsigned use = 0; use < HP_USES; use++)
        assert(al_is_aligned(heap->pages.system.areas[use][0].start, HP_GIB));
    end();
}

/* --- the filler --- */

static void test_best_fit_in_a_hugepage(void) {
    make(usual);
    const full f = make_full();
    static const size_t gaps[][2] = {{3, 5}, {20, 2}, {30, 3}, {40, 2}, {50, 3}};
    for (size_t i = 0; i < 5; i++) make_gap(&f, gaps[i][0], gaps[i][1]);
    assert(f.hugepage->longest == 5);
    assert(page_of(take(2)) == 20 && page_of(take(1)) == 40 && page_of(take(1)) == 41);
    assert(page_of(take(1)) == 30 && page_of(take(2)) == 31 && page_of(take(3)) == 50);
    assert(f.hugepage->longest == 5 && page_of(take(5)) == 3 && f.hugepage->longest == 0);
    end();
}

/* The shortest longest run that suffices; of these the most blocks; of these the last that changed. */
static void test_choice_of_a_hugepage(void) {
    make(usual);
    const full ten = make_full(), six = make_full(), other = make_full(), few = make_full();
    make_gap(&ten, 0, 10);
    make_gap(&six, 0, 6);
    make_gap(&six, 20, 6);
    make_gap(&other, 0, 6);
    for (size_t i = 0; i < 77; i += 7) make_gap(&few, i, 6);
    assert(few.hugepage->blocks == 63 && six.hugepage->blocks >= 64 && few.hugepage->longest == 6);
    assert(hugepage_of(take(7)) == ten.hugepage);
    assert(ten.hugepage->longest == 3 && hugepage_of(take(3)) == ten.hugepage);
    assert(hugepage_of(take(4)) == other.hugepage); /* it changed after the other one */
    assert(hugepage_of(take(6)) == six.hugepage);
    assert(hugepage_of(take(6)) == six.hugepage && six.hugepage->longest == 0);
    assert(hugepage_of(take(6)) == few.hugepage);
    end();
}

static void test_chunks(void) {
    hp_hugepage hugepage = {.longest = 9};
    const struct { uint16_t blocks; unsigned chunk; } should[] = {
        {1, 7}, {2, 6}, {3, 6}, {4, 5}, {7, 5}, {8, 4}, {31, 3}, {32, 2}, {64, 1}, {127, 1}, {128, 0}, {255, 0}};
    for (size_t i = 0; i < sizeof should / sizeof *should; i++) {
        hugepage.blocks = should[i].blocks;
        assert(al_hp_filler_list(&hugepage) == 9 * 8 + should[i].chunk);
    }
}

/* --- donations --- */

static void test_slack_is_donated(void) {
    make(usual);
    tc_span *small = take(100);
    tc_span *large = take(257); /* 2.1e6 bytes */
    hp_hugepage *last = al_hp_hugepage(&heap->pages, large->address + HP_HUGE);
    assert(al_is_aligned(large->address, HP_HUGE) && hugepage_of(large)->state == HP_WHOLE);
    assert(last->state == HP_FILLED && last->shelf == HP_DONATED && last->donation == 1 && last->longest == 255);
    assert(figures().slack_pages == 255 && figures().donated_pages == 1);
    assert(hugepage_of(take(100)) == hugepage_of(small)); /* not preferred, */
    tc_span *guest = take(100);
    assert(hugepage_of(guest) == last && page_of(guest) == 1); /* but before a new one */
    assert(last->shelf == HP_REGULAR && !last->donated && figures().slack_pages == 255);
    give(large);
    assert(last->abandoned == 1 && figures().abandoned_pages == 1 && figures().slack_pages == 0);
    assert(heap->pages.cache.free.hugepages == 1);
    give(guest);
    assert(figures().abandoned_pages == 0 && heap->pages.cache.free.hugepages == 2);
    assert(heap->pages.cache.free.count == 1 && heap->pages.whole_hugepages == 0);
    end();
}

static void test_a_block_of_most_of_a_hugepage(void) {
    make(usual);
    tc_span *most = take(200);
    assert(page_of(most) == 0 && hugepage_of(most)->shelf == HP_DONATED && figures().slack_pages == 56);
    tc_span *other = take(150), *guest = take(56);
    assert(hugepage_of(other) != hugepage_of(most) && hugepage_of(guest) == hugepage_of(most));
    give(most);
    assert(figures().abandoned_pages == 200 && hugepage_of(guest)->shelf == HP_REGULAR);
    tc_span *again = take(190); /* the filler has room for it */
    assert(again->address == hugepage_of(guest)->node.address && hugepage_of(again)->donation == 0);
    give(again);
    give(guest);
    give(other);
    assert(figures().abandoned_pages == 0 && figures().slack_pages == 0 && heap->pages.filler.hugepages == 0);
    end();
}

static void test_alignment(void) {
    make(usual);
    for (size_t alignment = 2 * TC_PAGE; alignment <= (size_t)2 << 30; alignment *= 2)
        for (size_t pages = 1; pages < 2000; pages = pages * 3 + 1) {
            tc_span *one = al_hp_pages_take_aligned(&heap->base, pages, alignment);
            tc_span *other = al_hp_pages_take_aligned(&heap->base, pages, alignment);
            assert(one != NULL && al_is_aligned(one->address, alignment) && one->pages == pages);
            assert(other != NULL && al_is_aligned(other->address, alignment) && other->address != one->address);
            validate();
            give(one);
            validate();
            give(other);
        }
    assert(heap->pages.in_use_pages == 0 && figures().slack_pages == 0);
    end();
}

/* --- regions --- */

static void test_regions(void) {
    make(usual);
    enum { EACH = 56 * TC_PAGE };
    size_t count = 0;
    while (figures().slack_pages * TC_PAGE < 64 * MIB) {
        take(200);
        assert(heap->pages.regions.count == 0 && ++count);
    }
    assert(count == 64 * MIB / EACH + 1);
    const size_t before = al_regions_counters(heap->base.heap.regions)->mapped;
    tc_span *in = take(200);
    hp_region *region = heap->pages.regions.of[0];
    assert(heap->pages.regions.count == 1 && in->address == region->address);
    assert(al_regions_counters(heap->base.heap.regions)->mapped >= before + HP_GIB);
    assert(region->backed_hugepages == 1 && figures().regions_free == 56 * TC_PAGE);
    tc_span *across = take(300), *next = take(150);
    assert(across->address == al_tc_end(in) && next->address == al_tc_end(across));
    assert(hugepage_of(take(256))->state == HP_WHOLE); /* a whole one is no waste */
    assert(hugepage_of(take(57))->state == HP_FILLED);
    give(across);
    assert(region->blocks == 2 && region->used_pages == 350);
    tc_span *best = take(290), *fill = take(HP_REGION_PAGES - 650);
    assert(best->address == across->address && fill->address == al_tc_end(next));
    validate();
    tc_span *own = take(200); /* full: a second one */
    assert(heap->pages.regions.count == 2 && hugepage_of(own)->state == HP_IN_REGION);
    give(own);
    give(best);
    assert(take(290)->address == best->address); /* the fuller region */
    end();
}

static void test_no_regions(void) {
    hp_params params = usual;
    params.regions = false;
    make(params);
    for (int i = 0; i < 300; i++) assert(hugepage_of(take(150))->state == HP_FILLED);
    end();
    params.regions = true;
    params.region_slack = 0;
    make(params);
    assert(hugepage_of(take(150))->state == HP_IN_REGION);
    end();
}

/* What is free and backed stays so, until it is asked for: whole hugepages, in one call where they adjoin. */
static void test_regions_release(void) {
    hp_params params = usual;
    params.region_slack = 0;
    make(params);
    tc_span *a = take(300), *b = take(700), *c = take(1000);
    const char *bytes = (const char *)a->address;
    memset((void *)a->address, 1, 2000 * TC_PAGE);
    give(b);
    assert(figures().regions_free == (size_t)(700 + 8 * 256 - 2000) * TC_PAGE && calls(AL_CALL_MADVISE) == 1);
    assert(al_hp_pages_release(heap, TC_PAGE) == HP_HUGE && calls(AL_CALL_MADVISE) == 2);
    assert(bytes[511 * TC_PAGE] == 1 && bytes[512 * TC_PAGE] == 0 && bytes[1000 * TC_PAGE] == 1);
    give(a);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 2 * HP_HUGE && calls(AL_CALL_MADVISE) == 3);
    assert(figures().unbacked >= 3 * HP_HUGE && figures().released_bytes == 3 * HP_HUGE);
    give(c);
    assert(figures().regions_free == 5 * HP_HUGE);
    end();
}

/* --- the hugepage cache --- */

static void test_ten_are_cached(void) {
    static tc_span *spans[100];
    make(usual);
    for (int i = 0; i < 100; i++) spans[i] = take(128);
    const uint64_t before = calls(AL_CALL_MADVISE);
    for (int i = 0; i < 100; i++) give(spans[i]);
    assert(figures().cache_free == 20 * MIB && figures().unbacked == 80 * MIB);
    assert(calls(AL_CALL_MADVISE) - before == 40);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 20 * MIB);
    assert(figures().unbacked == 104857600 && figures().cache_free == 0);
    end();
}

/* The shortest range is given back, and of it no more than must be; the lowest is used again. */
static void test_shortest_is_given_back(void) {
    make(usual);
    tc_span *a = take(5 * 256), *wall = take(256), *b = take(4 * 256), *wall2 = take(256), *c = take(3 * 256);
    const uintptr_t at = c->address, longest = a->address;
    give(a);
    give(b);
    give(c);
    assert(heap->pages.cache.free.hugepages == 10 && heap->pages.unbacked.hugepages == 2);
    assert(al_hp_hugepage(&heap->pages, at)->state == HP_UNBACKED);
    assert(al_hp_hugepage(&heap->pages, at + 2 * HP_HUGE)->state == HP_CACHED);
    tc_span *one = take(256), *four = take(4 * 256), *two = take(2 * 256), *seven = take(7 * 256);
    assert(one->address == at + 2 * HP_HUGE && two->address == longest && four->address > wall2->address);
    assert(hugepage_of(seven)->state == HP_WHOLE && seven->address < at && wall != NULL);
    end();
}

/* What was freed and is wanted again within a second raises the limit to a tenth more; disuse lowers it. */
static void test_limit_follows_dips(void) {
    static tc_span *spans[100];
    make(usual);
    hp_cache *cache = &heap->pages.cache;
    for (int i = 0; i < 100; i++) spans[i] = take(256);
    assert(cache->limit == 10);
    for (int i = 0; i < 50; i++) give(spans[i]);
    assert(cache->free.hugepages == 10 && cache->overflow_hugepages == 40);
    for (int i = 0; i < 50; i++) spans[i] = take(256);
    assert(cache->limit == 55);
    for (int i = 0; i < 50; i++) give(spans[i]);
    assert(cache->free.hugepages == 50 && heap->pages.unbacked.hugepages == 0);
    pass(3 * SECOND);
    for (int i = 0; i < 2; i++) spans[i] = take(256);
    give(spans[0]);
    assert(cache->limit == 55 - 24 && cache->free.hugepages == 31); /* 48 or more lay there */
    give(spans[1]);
    assert(cache->limit == 31 && cache->free.hugepages == 31);
    for (int i = 0; i < 30; i++) {
        pass(3 * SECOND);
        give(take(256));
    }
    assert(cache->limit == 10);
    end();
    make(usual);
    for (int i = 0; i < 100; i++) spans[i] = take(256);
    for (int i = 0; i < 50; i++) give(spans[i]);
    pass(2 * SECOND);
    for (int i = 0; i < 50; i++) take(256);
    assert(cache->limit == 10); /* that was no brief one */
    end();
}

static void test_cache_limit_is_a_setting(void) {
    hp_params params = usual;
    params.cache_limit = 0;
    make(params);
    give(take(256));
    assert(figures().cache_free == 0 && figures().unbacked == HP_HUGE);
    end();
    params.cache_limit = 1000;
    make(params);
    give(take(900 * 256));
    assert(figures().cache_free == 900 * (size_t)HP_HUGE && figures().unbacked == 0);
    end();
}

/* --- subrelease --- */

/* First the emptiest; what was broken before comes before what is whole. */
static void test_subrelease_order(void) {
    make(hasty());
    const full ten = make_full(), thirty = make_full(), twenty = make_full();
    make_gap(&ten, 0, 10);
    make_gap(&thirty, 0, 10);
    make_gap(&thirty, 20, 20);
    make_gap(&twenty, 50, 20);
    const uint64_t before = calls(AL_CALL_MADVISE);
    assert(al_hp_pages_release(heap, 1) == 30 * TC_PAGE && thirty.hugepage->shelf == HP_RELEASED);
    assert(calls(AL_CALL_MADVISE) - before == 2); /* a call for each run */
    assert(al_hp_pages_release(heap, 20 * TC_PAGE) == 20 * TC_PAGE && twenty.hugepage->shelf == HP_RELEASED);
    assert(hugepage_of(take(10)) == ten.hugepage && hugepage_of(take(20)) == twenty.hugepage);
    end();
}

static void test_broken_ones_come_first(void) {
    make(hasty());
    const full broken = make_full();
    make_gap(&broken, 0, 10);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 10 * TC_PAGE && broken.hugepage->shelf == HP_RELEASED);
    const full whole = make_full();
    make_gap(&whole, 0, 50);
    tc_span *in = take(8); /* whole ones are preferred */
    assert(hugepage_of(in) == whole.hugepage && hugepage_of(take(42)) == whole.hugepage);
    tc_span *b = take(4), *c = take(3);
    assert(hugepage_of(b) == broken.hugepage && hugepage_of(c) == broken.hugepage);
    assert(broken.hugepage->shelf == HP_RELEASED && broken.hugepage->released_pages == 3);
    give(b);
    assert(broken.hugepage->shelf == HP_PARTLY && broken.hugepage->released_pages == 3);
    give(in);
    assert(al_hp_pages_release(heap, 1) == 4 * TC_PAGE && broken.hugepage->shelf == HP_RELEASED);
    assert(whole.hugepage->shelf == HP_REGULAR && hugepage_of(take(2)) == whole.hugepage);
    end();
}

/* The last block of a broken hugepage: it goes back as a whole, past the cache. */
static void test_a_broken_hugepage_is_not_cached(void) {
    make(hasty());
    tc_span *a = take(100), *b = take(50);
    memset((void *)a->address, 1, 150 * TC_PAGE);
    assert(al_hp_pages_release(heap, 1) == 106 * TC_PAGE);
    give(a);
    assert(hugepage_of(b)->shelf == HP_PARTLY);
    const uint64_t before = calls(AL_CALL_MADVISE);
    give(b);
    assert(calls(AL_CALL_MADVISE) - before == 1 && heap->pages.cache.free.hugepages == 0);
    assert(heap->pages.unbacked.hugepages == 1 && heap->pages.filler.released_pages == 0);
    assert(*(char *)take(1)->address == 0);
    end();
}

static void test_subrelease_of_the_end_of_a_large_block(void) {
    make(hasty());
    tc_span *large = take(600);
    assert(al_hp_pages_release(heap, SIZE_MAX) == (3 * 256 - 600) * TC_PAGE);
    give(large);
    assert(heap->pages.cache.free.hugepages == 2 && heap->pages.unbacked.hugepages == 1);
    end();
}

/* A hundred hugepages' worth were wanted; then half of each is free. */
static void half_empty(hp_params params) {
    static tc_span *spans[200];
    make(params);
    for (int i = 0; i < 200; i++) spans[i] = take(128);
    for (int i = 0; i < 200; i += 2) give(spans[i]);
}

static void test_subrelease_is_skipped(void) {
    const size_t half = (size_t)100 * 128 * TC_PAGE;
    half_empty(usual);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 0); /* a moment ago it was all in use */
    assert(heap->pages.filler.skipped_pages == 100 * 128);
    pass(59 * SECOND);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 0);
    pass(SECOND); /* for a minute there was no swing; never less than half was wanted */
    assert(al_hp_pages_release(heap, SIZE_MAX) == half && figures().subreleased_pages == 100 * 128);
    end();
    half_empty(hasty());
    assert(al_hp_pages_release(heap, half / 2) == half / 2 && al_hp_pages_release(heap, SIZE_MAX) == half / 2);
    assert(figures().covered == 0 && figures().hugepages == 100 && figures().hugepages_whole == 0);
    end();
    hp_params params = hasty();
    params.subrelease = false;
    half_empty(params);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 0);
    end();
}

/* For five minutes what was steadily in use is kept, though it is free now. */
static void test_subrelease_keeps_the_trend(void) {
    static tc_span *spans[200];
    make(usual);
    for (int i = 0; i < 200; i++) spans[i] = take(128);
    pass(10 * SECOND);
    for (int i = 0; i < 200; i += 2) give(spans[i]);
    pass(250 * SECOND);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 0);
    pass(48 * SECOND);
    assert(al_hp_pages_release(heap, SIZE_MAX) == 0);
    pass(SECOND);
    assert(al_hp_pages_release(heap, SIZE_MAX) == (size_t)100 * 128 * TC_PAGE);
    end();
}

/* --- series --- */

static void test_series(void) {
    hp_epoch epochs[4] = {{0}};
    hp_series series = {.step = 10, .count = 4, .epochs = epochs};
    al_hp_series_report(&series, 0, 5);
    al_hp_series_report(&series, 3, 2);
    hp_summary s = al_hp_series_over(&series, 9, 10);
    assert(s.least == 0 && s.most == 5 && s.swing == 5 && s.steady == 0);
    s = al_hp_series_over(&series, 25, 20); /* nothing happened since */
    assert(s.least == 2 && s.most == 2 && s.swing == 0 && s.steady == 2);
    al_hp_series_report(&series, 30, 7);
    s = al_hp_series_over(&series, 39, 20);
    assert(s.least == 2 && s.most == 7 && s.swing == 5 && s.steady == 2);
    s = al_hp_series_over(&series, 39, 40);
    assert(s.least == 0 && s.swing == 5);
    s = al_hp_series_over(&series, 45, 1000); /* the first epoch is forgotten */
    assert(s.least == 2 && s.most == 7);
    s = al_hp_series_over(&series, 1000, 30);
    assert(s.least == 7 && s.most == 7 && s.steady == 7);
}

int main(void) {
    test_commits_from_the_top();
    test_a_longer_block_takes_new_ones();
    test_small_windows(16 * MIB, 0);
    test_small_windows(40 * MIB + 4096, 12288);
    test_small_windows((size_t)HP_GIB, 4096);
    test_limits();
    test_tags();
    test_best_fit_in_a_hugepage();
    test_choice_of_a_hugepage();
    test_chunks();
    test_slack_is_donated();
    test_a_block_of_most_of_a_hugepage();
    test_alignment();
    test_regions();
    test_no_regions();
    test_regions_release();
    test_ten_are_cached();
    test_shortest_is_given_back();
    test_limit_follows_dips();
    test_cache_limit_is_a_setting();
    test_subrelease_order();
    test_broken_ones_come_first();
    test_a_broken_hugepage_is_not_cached();
    test_subrelease_of_the_end_of_a_large_block();
    test_subrelease_is_skipped();
    test_subrelease_keeps_the_trend();
    test_series();
    return 0;
}
